import ArgumentParser

/// `dejavu inspect`: what a model is, and what this machine would run it with.
struct Inspect: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show a model's architecture and size, and what this machine would run it with.",
    discussion: "Nothing is loaded: headers and configuration are read, weights only sampled.")

  @Argument(
    help: "The model's folder (default: the model that comes with dejavu).",
    completion: .directory)
  var model: String?

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func run() throws {
    Interrupt.install()
    let inspection = try Interrupt.endingAtOnce {
      try Inspection(folder: try ModelOptions.folder(model))
    }
    try StandardOutput.write(output.json ? inspection.json.description + "\n" : inspection.text)
  }
}
