import ArgumentParser
import DejaVu

/// How many threads a command computes with.
struct ThreadOptions: ParsableArguments {
  @Option(
    name: [.short, .long], parsing: .unconditional,
    help: ArgumentHelp(
      "Threads that compute (1 to 1024; default: one per core).", valueName: "count"),
    transform: Numbers.whole(1...1024))
  var threads: Int?

  /// What was asked for, or one per core.
  var count: Int { threads ?? LanguageModel.defaultThreads }
}
