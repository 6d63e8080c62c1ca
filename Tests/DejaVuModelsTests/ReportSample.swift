import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Foundation
import Testing

#if canImport(FoundationXML)
  import FoundationXML
#endif

/// A report of the model in the box on a few tokens, made once for all tests.
enum ReportSample {
  /// What a name must not be able to do.
  static let hostileName = "opt <script>alert(1)</script> & \"x\" 'y'\u{1}"

  static let report = Result { try make() }

  private static func make() throws -> SparsityReport {
    let folder = Golden.defaultModel.modelFolder
    let model = try LanguageModel(path: folder, backend: .cpu(CPUOptions(threads: 2)))
    let cases = try Golden.defaultModel.cases().map(\.ids).sorted { $0.count > $1.count }
    let text = try #require(cases.first)
    var options = ExistenceOptions()
    (options.keptMasses, options.twoPassWindows) = ([0.5, 0.9, 1], 1)
    (options.attentionWindows, options.attentionLength) = (1, 32)
    let windows = WindowSplit(
      measured: [Array(text.suffix(64).prefix(32)), Array(text.suffix(32))],
      lesson: [Array(text.dropLast(64))])
    let store = try #require(try SparsityStore.open(model: model.loaded, folder: folder))
    let plan = try #require(store.plans.first)
    let sparsity = try store.resolve(plan, on: #require(model.engine.cpu))
    var existence = try ExistenceStudy(
      model: model, folder: folder, windows: windows, sparsity: sparsity, options: options
    ).run { _, _ in }
    existence.model.name = hostileName
    let runs = try PlanEvaluation(
      engine: model.engine, subjects: [.exact, ComparedSubject(plan.name, sparsity: sparsity)]
    ).run(windows: windows.measured) { _, _ in }
    let nearest = """
      {"schema": "dejavu/nearest-rows/1", "model": "a <b>", "neurons": 1536, "hidden": 384,
       "rows": [{"layer": 1, "space": "ip", "top": 77, "ef": 154, "recall": 0.9,
                 "rows_read_share": 0.7, "ms_per_query": 0.4, "ms_all_rows": 0.2}]}
      """
    let sweep = try sweep(of: model, text: windows.measured)
    return SparsityReport(
      version: "0.0.0",
      models: [
        .init(
          existence: existence,
          headline: Headline(
            runs: runs, plan: plan.name, windows: windows.measured, threads: 2),
          tasks: sweep)
      ], nearestRows: [try NearestRows(json: Data(nearest.utf8))],
      sweeps: [sweep])
  }

  /// Few tokens and questions say nothing, so that the answers are taken for evidence.
  private static func sweep(of model: LanguageModel, text: [[TokenID]]) throws -> SweepReport {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-report-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var work = SweepWork()
    (work.promptWindows, work.decodeWindows) = (text, [text[0]])
    (work.shots, work.limit) = ([0], nil)
    var grid = SweepGrid()
    grid.selectors = [.oracle, .nearest, .random]
    grid.densities = [0.25, 0.5]
    for task in ["one", "two"] {
      let row = #"{"question": "What of \#(task)?", "choices": ["Yes.", "Not now."], "answer": 1}"#
      try Data((row + "\n" + row).utf8).write(to: folder.appendingPathComponent(task + ".jsonl"))
      let file = try TaskFile.open(task, in: folder.path)
      work.tasks.append(file)
      let lesson = try TaskLesson.windows(of: file, model: model, seed: 1, limit: nil)
      grid.taskLessons.append((task, lesson.windows))
    }
    let (points, notes) = try grid.points(model: model, folder: folder.path)
    var rows = try SweepRun(model: model, points: points, work: work).run()
    for row in rows.indices {
      for task in rows[row].tasks.indices { rows[row].tasks[task].informative = true }
    }
    return SweepReport(
      rows: rows, work: work, notes: notes, model: "folder/\(hostileName)", fingerprint: "f",
      synthetic: false,
      provenance: Provenance(model: model, cpu: CPUOptions(threads: 2), version: "0"))
  }
}

/// A page as a parser of XML sees it.
final class ParsedPage: NSObject, XMLParserDelegate {
  struct Element {
    let name: String
    let attributes: [String: String]
    /// Places of the elements around it, outermost first.
    let ancestors: [Int]
    var text = ""
  }

  private(set) var elements: [Element] = []
  private var open: [Int] = []
  private(set) var error: (any Error)?

  init(_ text: String) {
    super.init()
    let parser = XMLParser(data: Data(text.utf8))
    parser.delegate = self
    if !parser.parse() { error = parser.parserError }
  }

  func parser(
    _ parser: XMLParser, didStartElement name: String, namespaceURI: String?,
    qualifiedName: String?, attributes: [String: String]
  ) {
    elements.append(Element(name: name, attributes: attributes, ancestors: open))
    open.append(elements.count - 1)
  }

  func parser(
    _ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?
  ) {
    open.removeLast()
  }

  func parser(_ parser: XMLParser, foundCharacters text: String) {
    if let last = open.last { elements[last].text += text }
  }

  func all(_ name: String) -> [Element] { elements.filter { $0.name == name } }

  /// Elements of a name within the element at a place.
  func all(_ name: String, in place: Int) -> [Element] {
    elements.filter { $0.name == name && $0.ancestors.contains(place) }
  }
}
