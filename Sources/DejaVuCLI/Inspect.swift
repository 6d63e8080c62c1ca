import ArgumentParser
import DejaVuEvaluation

/// `dejavu inspect`: what a model is, and what this machine would run it with; with `--sparsity`,
/// where its sparsity is.
struct Inspect: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show a model's architecture and size, and what this machine would run it with.",
    discussion: """
      Nothing is loaded: headers and configuration are read, weights only sampled.

      With --sparsity the model reads a text, and what its heads and neurons add is measured: how \
      few of them give the same next tokens, how their sets change with the context, how layers turn \
      the stream, what attention does to distances, and how good choosers are.

        dejavu inspect --sparsity --model opt-125m --model opt-1.3b --text text.txt
      """)

  @Argument(
    help: "The model's folder (default: the model that comes with dejavu).",
    completion: .directory)
  var model: String?

  @Flag(help: "Measure where the model's sparsity is, on --text.")
  var sparsity = false

  @Option(
    name: .customLong("model"),
    help: ArgumentHelp(
      "A model to measure; may be given several times, in place of the argument.",
      valueName: "path"),
    completion: .directory)
  var models: [String] = []

  @Option(help: ArgumentHelp("Text to measure on; - reads a pipe.", valueName: "file"))
  var text: String?

  @Option(
    help: ArgumentHelp(
      "Text that static and non-contextual sets learn from (default: other parts of --text).",
      valueName: "file"))
  var calibration: String?

  @Option(
    help: ArgumentHelp(
      "Plan whose choosers are measured (default: the cheapest of at most 1 % loss).",
      valueName: "name"))
  var plan: String?

  @OptionGroup var threads: ThreadOptions

  @OptionGroup(title: "Output")
  var output: OutputOptions

  func validate() throws {
    if sparsity && text == nil {
      throw ValidationError("--sparsity is measured on a text; add --text FILE")
    }
    let others: [(String, Bool)] = [
      ("--text", text != nil), ("--calibration", calibration != nil), ("--plan", plan != nil),
      ("--threads", threads.threads != nil), ("--model", !models.isEmpty),
    ]
    if !sparsity, let (name, _) = others.first(where: { $0.1 }) {
      throw ValidationError("\(name) is for measuring sparsity; add --sparsity")
    }
    if model != nil && !models.isEmpty {
      throw ValidationError("name models either as an argument or by --model")
    }
  }

  func run() throws {
    Interrupt.install()
    if sparsity, let text { return try measure(text) }
    let inspection = try Interrupt.endingAtOnce {
      try Inspection(folder: try ModelOptions.folder(model))
    }
    try StandardOutput.write(output.json ? inspection.json.description + "\n" : inspection.text)
  }

  private func measure(_ text: String) throws {
    let folders =
      models.isEmpty
      ? [try ModelOptions.folder(model)] : try models.map { try ModelOptions.folder($0) }
    let run = ExistenceRun(
      text: text, calibration: calibration, plan: plan, threads: threads.count,
      isQuiet: output.quiet)
    let reports = try Interrupt.endingAtOnce { try run.reports(folders: folders) }
    let result =
      output.json
      ? try ExistenceReport.json(of: reports) + "\n"
      : reports.map(\.text).joined(separator: "\n")
    try StandardOutput.write(result)
  }
}
