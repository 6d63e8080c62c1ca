import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuEvaluation
import DejaVuModels
import Foundation

/// `dejavu eval`: measures a model's quality.
struct Evaluate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "eval",
    abstract: "Measure how well a model foretells a text.",
    discussion: """
      Perplexity is e to the mean loss per token. The text is cut into windows, each read from an \
      empty cache and beginning with the beginning-of-text token if the model's tokenizer adds one; \
      every token is scored once. Lines that hold only <|endoftext|> separate documents: by default \
      documents are joined by an empty line and windows reach over their ends.
      """)

  @Option(
    help: ArgumentHelp("Measure perplexity on this text; - reads a pipe.", valueName: "file"))
  var perplexity: String
  @OptionGroup var model: ModelOptions
  @Option(help: "Tokens of a window (default: the model's context, at most 1024).")
  var context: Int?
  @Option(help: "Tokens by which windows advance (default: windows do not overlap).")
  var stride: Int?
  @Option(help: "How many windows, spread evenly over the text (default: all).")
  var windows: Int?
  @Option(help: "Read windows in batches (prompt) or token by token (decode).")
  var path = ScoringPath.prompt
  @Option(help: "Rows that are left out: none (off), or those of zero activations (exact).")
  var sparsity = EvaluationSparsity.off
  @Option(
    help: ArgumentHelp(
      "Compare this plan, stored beside the model, with dense and exact: quality and speed of the "
        + "same decode steps, 16 windows unless --windows says otherwise.", valueName: "name"))
  var plan: String?
  @Flag(inversion: .prefixedNo, help: "Begin windows with the beginning-of-text token or without.")
  var bos: Bool?
  @Flag(help: "Keep windows within documents.")
  var documents = false
  @Option(name: [.short, .long], help: "Threads that compute (default: one per core).")
  var threads: Int?
  @Flag(help: "Print one JSON object on standard output (see Documentation/JSON.md).")
  var json = false

  func validate() throws {
    for (name, value) in [("context", context), ("stride", stride), ("windows", windows)] {
      if let value, value < 1 { throw ValidationError("--\(name) is \(value), not at least 1.") }
    }
    if let threads, !(1...1024).contains(threads) {
      throw ValidationError("--threads is \(threads), not 1 to 1024.")
    }
  }

  func run() throws {
    let text = EvaluationText(try InputFile.read(perplexity))
    let folder = try model.folder()
    let threads = threads ?? LanguageModel.defaultThreads
    let loaded = try LanguageModel(path: folder, backend: .cpu(CPUOptions(threads: threads)))
    if let plan { return try compare(plan, text, loaded, folder, threads) }
    let options = PerplexityOptions(
      context: context, stride: stride, windows: windows, beginsWithBOS: bos,
      separatesDocuments: documents, path: path, mode: sparsity.mode)
    let line = ProgressLine()
    let result = try Perplexity(model: loaded, options: options).measure(text) { line.show($0) }
    line.clear()
    let report = PerplexityReport(
      result, model: folder, loaded: loaded.loaded, threads: threads)
    try StandardOutput.write((json ? try report.json() : report.text) + "\n")
  }
}

extension Evaluate {
  /// Quality and speed of a plan, in one run.
  private func compare(
    _ name: String, _ text: EvaluationText, _ model: LanguageModel, _ folder: String, _ threads: Int
  ) throws {
    let choice = try SparsityChoice.plan(name, model: model, folder: folder)
    guard let sparsity = choice.sparsity else { return }
    let length = context ?? min(model.architecture.context, 1024)
    let sample = CalibrationText(
      text: text, model: model, count: windows ?? 16, length: length)
    guard !sample.windows.isEmpty else { throw EvaluationError.nothingToScore(tokens: 0) }
    let bar = ProgressBar("evaluating", isShown: true, unit: .steps)
    let runs = try PlanEvaluation(engine: model.engine, sparsity: sparsity)
      .run(windows: sample.windows) { bar.update(done: $0, of: $1) }
    bar.finish()
    let report = ComparisonReport(
      runs: runs, plan: sparsity.plan, folder: folder, loaded: model.loaded, threads: threads,
      windows: sample.windows.count)
    try StandardOutput.write((json ? report.json.description : report.text) + "\n")
  }
}

extension ScoringPath: ExpressibleByArgument {}

/// What `--sparsity` may say.
enum EvaluationSparsity: String, CaseIterable, ExpressibleByArgument {
  case off, exact

  var mode: RunMode { self == .off ? .dense : .exact }
}

/// One line on a terminal's stderr that says how far the measurement has come; silent elsewhere.
private struct ProgressLine {
  private let isTerminal = isatty(FileHandle.standardError.fileDescriptor) == 1

  /// Shown from the third second on: shorter waits need no explanation.
  func show(_ progress: EvaluationProgress) {
    guard isTerminal, progress.elapsed >= .seconds(2) else { return }
    let share = Int(100 * Double(progress.done) / Double(max(progress.total, 1)))
    let remaining = Int((progress.remaining / .seconds(1)).rounded(.up))
    let perplexity = String(format: "%.3f", exp(progress.meanLoss))
    write("\r\u{1B}[K\(share) %, about \(remaining) s left, perplexity so far \(perplexity)")
  }

  func clear() {
    if isTerminal { write("\r\u{1B}[K") }
  }

  private func write(_ text: String) {
    FileHandle.standardError.write(Data(text.utf8))
  }
}
