import ArgumentParser
import DejaVu
import DejaVuEvaluation
import DejaVuFormats
import DejaVuModels
import Foundation

/// `dejavu report`: everything about models' sparsity, measured and drawn in one file.
struct Report: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure models' contextual sparsity and draw it in one HTML file.",
    discussion: """
      Quality, bytes and speed of a stored plan beside dense and exact decoding, as 'dejavu eval \
      --plan NAME --speed' measures them, and everything that 'dejavu inspect --sparsity' does; tasks by \
      the oracle's rows with --task-data; sweeps that were made before. The file refers to nothing outside and needs no script; a table lies beneath every drawing.

        dejavu report --model opt-125m --text text.txt --output report.html --json report.json
      """)

  @Option(
    name: [.customShort("m"), .customLong("model")],
    help: ArgumentHelp(
      "A model's folder; may be given several times (default: the model that comes with dejavu).",
      valueName: "path"),
    completion: .directory)
  var models: [String] = []

  @Option(help: ArgumentHelp("Text to measure on; - reads a pipe.", valueName: "file"))
  var text: String?

  @Option(
    help: ArgumentHelp(
      "Draw what an earlier --json holds and measure nothing.", valueName: "file"))
  var from: String?

  @Option(
    help: ArgumentHelp(
      "Text that static and non-contextual sets learn from (default: other parts of --text).",
      valueName: "file"))
  var calibration: String?

  @Option(
    help: ArgumentHelp(
      "Plan that is measured (default: the cheapest of at most 1 % loss).", valueName: "name"))
  var plan: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Windows that quality and speed are measured on (1 to 1024; default: 16).",
      valueName: "count"),
    transform: Numbers.whole(1...1024))
  var windows: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Tokens of each (default: the model's context, at most 1024).", valueName: "count"),
    transform: Numbers.whole(2...1 << 20))
  var length: Int?

  @Option(
    help: ArgumentHelp(
      "Show what 'Scripts/nearest_rows.py --json FILE' found, too; may be given several times.",
      valueName: "file"))
  var nearestRows: [String] = []

  @Option(
    help: ArgumentHelp(
      "Show what 'dejavu eval --sweep --json' printed, too; may be given several times.",
      valueName: "file"))
  var sweep: [String] = []

  @Option(
    help: ArgumentHelp(
      "Ask the tasks that have files in this folder: dense, by the oracle and under the plan.",
      valueName: "folder"),
    completion: .directory)
  var taskData: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Seeded items of each task (default: 200).", valueName: "count"),
    transform: Numbers.whole(1...1_000_000))
  var limit: Int?

  @Option(
    name: .shortAndLong, help: ArgumentHelp("The HTML file to write.", valueName: "file"),
    completion: .file(extensions: ["html"]))
  var output: String

  @Option(
    help: ArgumentHelp(
      "Write the figures as JSON, too (see Documentation/JSON.md).", valueName: "file"),
    completion: .file(extensions: ["json"]))
  var json: String?

  @OptionGroup var threads: ThreadOptions

  @Flag(name: [.short, .long], help: "No progress.")
  var quiet = false

  func validate() throws {
    guard (text == nil) != (from == nil) else {
      throw ValidationError(
        "name either a text with --text FILE or an earlier --json with --from FILE")
    }
    let measured: [(String, Bool)] = [
      ("model", !models.isEmpty), ("calibration", calibration != nil), ("plan", plan != nil),
      ("windows", windows != nil), ("length", length != nil), ("task-data", taskData != nil),
    ]
    if from != nil, let (name, _) = measured.first(where: { $0.1 }) {
      throw ValidationError("--from measures nothing; leave out --\(name)")
    }
    if taskData == nil && limit != nil {
      throw ValidationError("--limit is for tasks; add --task-data FOLDER")
    }
    if output == json { throw ValidationError("--output and --json name the same file") }
  }

  func run() throws {
    Interrupt.install()
    try Interrupt.endingAtOnce { try measure() }
  }

  private func measure() throws {
    // Places that cannot be written are better known before measuring than after.
    let page = try AtomicFile(path: output)
    let figures = try json.map { try AtomicFile(path: $0) }
    let nearest = try nearestRows.map {
      try NearestRows(json: Data(try InputFile.read($0)))
    }
    let sweeps = try sweep.map { try SweepReport(json: try InputFile.read($0)) }
    var report: SparsityReport
    if let from {
      report = try SparsityReport(earlier: try InputFile.read(from))
    } else {
      report = SparsityReport(
        version: DejaVuCommand.configuration.version, commit: Checkout.commit,
        models: try measuredModels(), nearestRows: [])
    }
    report.nearestRows += nearest
    report.sweeps += sweeps
    if let figures { try write(report.json() + "\n", to: figures) }
    try write(report.html, to: page)
  }

  private func measuredModels() throws -> [SparsityReport.Model] {
    let tasks = try taskData.map { try TaskArguments.files(["all"], in: $0) }
    let folders =
      models.isEmpty
      ? [try ModelOptions.folder(nil)] : try models.map { try ModelOptions.folder($0) }
    let run = ReportRun(
      existence: ExistenceRun(
        text: text ?? "-", calibration: calibration, plan: plan, threads: threads.count,
        isQuiet: quiet),
      windows: windows ?? 16, length: length, tasks: tasks ?? [], limit: limit ?? 200)
    return try run.models(folders: folders)
  }

  private func write(_ text: String, to file: AtomicFile) throws {
    var text = text
    try text.withUTF8 { try file.append(UnsafeRawBufferPointer($0)) }
    try file.commit()
  }
}
