import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Foundation

/// `dejavu eval`: measures a model's quality.
struct Evaluate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "eval",
    abstract: "Measure how well a model foretells a text, or answers tasks.",
    discussion: """
      Perplexity is e to the mean loss per token. The text is cut into windows, each read from an \
      empty cache and beginning with the beginning-of-text token if the model's tokenizer adds one; \
      every token is scored once. Lines that hold only <|endoftext|> separate documents: by default \
      documents are joined by an empty line and windows reach over their ends.

      With --plan or --selectors, windows spread over the text are decoded token by token in several \
      ways, dense first: quality and speed come from the same steps.

      With --tasks, questions are asked and scored as lm-evaluation-harness does: the answer is the \
      choice of the greatest summed log-probability. Plans and selectors answer twice: choosing at \
      every position, and behind a dense question, as generation does. A task whose accuracy is \
      within two standard errors of chance says nothing about the model.

      With --sweep, selectors go through densities, of neurons alone, of heads alone and of both: \
      perplexity through the prompt path and on a sample through decode, tasks without and with five \
      examples, speed and bytes.

        dejavu eval --perplexity text.txt --plan 1% --speed
        dejavu eval --tasks piqa,rte --task-data folder --plan 1%
        dejavu eval --perplexity text.txt --selectors oracle,random --mlp-density 0.25
        dejavu eval --sweep --perplexity text.txt --tasks all --task-data folder --calibration other.txt
      """)

  @Option(
    help: ArgumentHelp("Measure perplexity on this text; - reads a pipe.", valueName: "file"))
  var perplexity: String?
  @OptionGroup var model: ModelOptions
  @Option(
    name: [.customLong("context"), .customLong("length")],
    help: ArgumentHelp(
      "Tokens of a window (default: the model's context, at most 1024).", valueName: "count"))
  var context: Int?
  @Option(
    help: ArgumentHelp(
      "Tokens by which windows advance (default: windows do not overlap).", valueName: "count"))
  var stride: Int?
  @Option(
    help: ArgumentHelp(
      "How many windows, spread evenly over the text (default: all; in comparisons 16).",
      valueName: "count"))
  var windows: Int?
  @Option(
    help: ArgumentHelp(
      "Read windows in batches (prompt) or token by token (decode) (default: prompt).",
      valueName: "prompt|decode"))
  var path: ScoringPath?
  @Option(
    help: ArgumentHelp(
      "Rows that are left out: none (off), or those of zero activations (exact) (default: off).",
      valueName: "off|exact"))
  var sparsity: EvaluationSparsity?
  @Flag(inversion: .prefixedNo, help: "Begin windows with the beginning-of-text token or without.")
  var bos: Bool?
  @Flag(help: "Keep windows within documents.")
  var documents = false
  @Option(
    help: ArgumentHelp(
      """
      What the text's file holds: documents between lines of <|endoftext|>, WikiText as published, or \
      an object with a text on each line, as C4 is published (default: by the file's name; .gz is \
      unpacked).
      """, valueName: TextFormat.allCases.map(\.rawValue).joined(separator: "|")))
  var textFormat: TextFormat?
  @Flag(help: "Read all windows in comparisons and sweeps, through decode too.")
  var all = false
  @Option(
    help: ArgumentHelp(
      "Write what every layer's MLP reads, before its norm, to this safetensors file instead.",
      valueName: "file"))
  var streams: String?

  @OptionGroup(title: "Tasks") var tasks: TaskArguments

  @OptionGroup(title: "Comparing ways to choose rows") var comparison: ComparisonOptions

  @OptionGroup(title: "Sweeping densities") var sweep: SweepArguments

  @OptionGroup var threads: ThreadOptions
  @Option(
    help: ArgumentHelp(
      "Type of cached keys and values (default: float32 for float32 weights, else float16).",
      valueName: "type"))
  var cacheType: DType?
  @OptionGroup var kernels: KernelOptions
  @OptionGroup var backend: BackendOptions
  @OptionGroup(title: "Output") var output: OutputOptions

  func validate() throws {
    for (name, value) in [("context", context), ("stride", stride), ("windows", windows)] {
      if let value, value < 1 { throw ValidationError("--\(name) is \(value), not at least 1.") }
    }
    if all && windows != nil { throw ValidationError("take either --all or --windows") }
    if perplexity == nil && textFormat != nil {
      throw ValidationError("--text-format is for a text; add --perplexity")
    }
    if sweep.sweep { return try validateSweep() }
    if tasks.tasks == nil && tasks.journal != nil {
      throw ValidationError("--journal is for tasks and sweeps; add --tasks or --sweep")
    }
    if comparison.isPlan && comparison.selectors != nil {
      throw ValidationError("a plan has its own densities; take either --plan or --selectors")
    }
    if comparison.selectors == nil && comparison.calibration != nil {
      throw ValidationError("calibration text is for selectors; add --selectors")
    }
    if (perplexity == nil) == (tasks.tasks == nil) {
      throw ValidationError("name either a text with --perplexity FILE or tasks with --tasks NAMES")
    }
    if tasks.tasks != nil { return try validateTasks() }
    guard comparison.isAsked || streams != nil else {
      if all { throw ValidationError("--all is for comparisons; without one all windows are read") }
      return
    }
    if comparison.isAsked && streams != nil {
      throw ValidationError("--streams writes a file and compares nothing; leave one out")
    }
    if path == .prompt && comparison.speed {
      throw ValidationError("speed is that of decoding; leave out --speed or --path prompt")
    }
    try refuse(
      [
        ("stride", stride != nil), ("path", path != nil && streams != nil),
        ("sparsity", sparsity != nil), ("bos", bos != nil), ("documents", documents),
      ], "is for perplexity alone; leave it out of comparisons")
  }

  /// A sweep has its own paths and modes.
  private func validateSweep() throws {
    guard perplexity != nil || tasks.tasks != nil else {
      throw ValidationError("a sweep needs a text with --perplexity FILE, --tasks NAMES, or both")
    }
    try refuse(
      [
        ("stride", stride != nil), ("path", path != nil), ("sparsity", sparsity != nil),
        ("bos", bos != nil), ("documents", documents), ("streams", streams != nil),
        ("density", comparison.density != nil), ("mlp-density", comparison.mlpDensity != nil),
        ("head-density", comparison.headDensity != nil), ("speed", comparison.speed),
        ("eager-keys", comparison.eagerKeys), ("against", tasks.against != nil),
      ], "has no place in a sweep; leave it out")
  }

  private func refuse(_ others: [(name: String, isGiven: Bool)], _ reason: String) throws {
    if let other = others.first(where: { $0.isGiven }) {
      throw ValidationError("--\(other.name) \(reason)")
    }
  }

  /// Tasks have no windows.
  private func validateTasks() throws {
    try refuse(
      [
        ("context", context != nil), ("stride", stride != nil), ("windows", windows != nil),
        ("all", all), ("sparsity", sparsity != nil), ("bos", bos != nil), ("documents", documents),
        ("streams", streams != nil), ("speed", comparison.speed),
        ("eager-keys", comparison.eagerKeys),
      ], "is for perplexity; leave it out with --tasks")
  }

  func run() throws {
    let format = perplexity.map { textFormat ?? TextFormat(path: $0) } ?? .plain
    let text = try perplexity.map { try EvaluationText.contents(of: $0, format: format) }
    let files = try tasks.files()
    let calibration = try comparison.calibration.map { try EvaluationText.contents(of: $0) }
    let folder = try model.folder()
    let options = kernels.cpu(threads: threads.count, cacheType: cacheType)
    let loaded = try backend.load(folder, cpu: options)
    let subject = EvaluationSubject(
      model: loaded, folder: folder,
      provenance: Provenance(
        model: loaded, cpu: options, version: DejaVuCommand.configuration.version))
    if sweep.sweep {
      let run = SweepCommand(
        subject: subject, arguments: sweep, tasks: tasks, comparison: comparison, output: output)
      return try run.run(
        text: text, files: files, calibration: calibration, windows: windows, all: all,
        length: context)
    }
    guard let text else {
      let run = TaskCommand(
        subject: subject, path: path ?? .prompt, arguments: tasks, comparison: comparison,
        output: output)
      return try run.answer(files, calibration: calibration)
    }
    if comparison.isAsked || streams != nil {
      let run = ComparisonRun(
        subject: subject, path: path ?? .decode, options: comparison, output: output,
        sample: try Self.sample(
          text, loaded, windows: all ? .max : windows ?? 16, length: context))
      if let streams { return try run.write(streams: streams) }
      return try run.compare(calibration: calibration)
    }
    try measure(text, format, subject)
  }

  private func measure(
    _ text: EvaluationText, _ format: TextFormat, _ subject: EvaluationSubject
  ) throws {
    let options = PerplexityOptions(
      context: context, stride: stride, windows: windows, beginsWithBOS: bos,
      separatesDocuments: documents, path: path ?? .prompt, mode: (sparsity ?? .off).mode)
    let line = ProgressLine(isShown: !output.quiet)
    let result = try Perplexity(model: subject.model, options: options).measure(text) {
      line.show($0)
    }
    line.clear()
    let report = PerplexityReport(result, subject, format: format)
    try StandardOutput.write((output.json ? try report.json() : report.text) + "\n")
  }

  /// Windows of a text, spread over all of it.
  ///
  /// - Throws: ``EvaluationError`` for windows that the model or the text has no room for.
  static func sample(
    _ text: EvaluationText, _ model: LanguageModel, windows: Int, length: Int?
  ) throws(EvaluationError) -> CalibrationText {
    let limit = model.architecture.context
    let length = length ?? min(limit, 1024)
    guard (2...max(limit, 2)).contains(length) else {
      throw .contextOutOfRange(asked: length, allowed: 2...max(limit, 2))
    }
    let sample = CalibrationText(text: text, model: model, count: windows, length: length)
    guard !sample.windows.isEmpty else {
      throw .shorterThanWindow(tokens: sample.tokens, length: length)
    }
    return sample
  }
}

/// A loaded model and what results say about it.
struct EvaluationSubject {
  let model: LanguageModel
  let folder: String
  let provenance: Provenance
}

extension ScoringPath: ExpressibleByArgument {}
extension TextFormat: ExpressibleByArgument {}

/// What `--sparsity` may say.
enum EvaluationSparsity: String, CaseIterable, ExpressibleByArgument {
  case off, exact

  var mode: RunMode { self == .off ? .dense : .exact }
}

/// One line on a terminal's stderr that says how far the measurement has come; silent elsewhere.
private struct ProgressLine {
  private let isDrawn: Bool

  init(isShown: Bool) {
    isDrawn = isShown && isatty(FileHandle.standardError.fileDescriptor) == 1
  }

  /// Shown from the third second on: shorter waits need no explanation.
  func show(_ progress: EvaluationProgress) {
    guard isDrawn, progress.elapsed >= .seconds(2) else { return }
    let share = Int(100 * Double(progress.done) / Double(max(progress.total, 1)))
    let remaining = Int((progress.remaining / .seconds(1)).rounded(.up))
    let perplexity = String(format: "%.3f", exp(progress.meanLoss))
    write("\r\u{1B}[K\(share) %, about \(remaining) s left, perplexity so far \(perplexity)")
  }

  func clear() {
    if isDrawn { write("\r\u{1B}[K") }
  }

  private func write(_ text: String) {
    FileHandle.standardError.write(Data(text.utf8))
  }
}
