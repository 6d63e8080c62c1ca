import ArgumentParser

/// `dejavu`: every subcommand is one file, listed here.
struct DejaVuCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dejavu",
    abstract: "Runs large language models, reading only the weights that the text needs.",
    discussion: """
      Text goes to standard output, figures and progress to standard error. Exit codes: 0 done, \
      64 wrong usage, 65 bad model or input, 66 missing file, 69 unavailable (device, memory), \
      70 a bug, 74 input or output failed, 77 no permission, 130 interrupted.
      """,
    version: "0.1.0",
    groupedSubcommands: [
      CommandGroup(name: "Text", subcommands: [Generate.self]),
      CommandGroup(
        name: "Models", subcommands: [Inspect.self, Convert.self, Quantize.self, Pack.self]),
      CommandGroup(name: "Sparsity", subcommands: [Train.self, Calibrate.self]),
      CommandGroup(
        name: "Measuring", subcommands: [Bench.self, Evaluate.self, Report.self, Synthesize.self]),
    ])
}
