import ArgumentParser

/// What a command prints beside its result.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print one JSON object on standard output (see Documentation/JSON.md).")
  var json = false

  @Flag(name: [.short, .long], help: "No figures, no progress, no warnings.")
  var quiet = false
}
