import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Foundation
import Testing

/// Selectors at several densities, on a few tokens and questions of the model in the box.
struct SweepTests {
  private let model: LanguageModel
  private let folder: URL

  init() throws {
    let cpu = CPUOptions(threads: 2, cacheType: .float32, multipliesPromptInBFloat16: false)
    model = try LanguageModel(path: Golden.defaultModel.modelFolder, backend: .cpu(cpu))
    folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-sweep-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for (task, word) in [("one", "Sing"), ("two", "Run")] {
      let rows = (0..<3).map {
        #"{"question": "What \#($0) now?", "choices": ["\#(word).", "Wait a while."], "answer": \#($0 % 2)}"#
      }
      try Data(rows.joined(separator: "\n").utf8)
        .write(to: folder.appendingPathComponent(task + ".jsonl"))
    }
  }

  private func work() throws -> SweepWork {
    let ids = try Golden.defaultModel.cases().map(\.ids).max { $0.count < $1.count } ?? []
    var work = SweepWork()
    work.promptWindows = [Array(ids[..<16]), Array(ids[16..<32])]
    work.decodeWindows = [Array(ids[..<16])]
    work.tasks = try ["one", "two"].map { try TaskFile.open($0, in: folder.path) }
    (work.shots, work.limit) = ([0, 1], nil)
    return work
  }

  private func grid(_ work: SweepWork) throws -> SweepGrid {
    var grid = SweepGrid()
    grid.selectors = [.dense, .exact, .oracle, .nearest, .random]
    grid.densities = [0.5, 1]
    for file in work.tasks {
      let lesson = try TaskLesson.windows(of: file, model: model, seed: work.seed, limit: nil)
      #expect(lesson.windows.count == 3 && !lesson.isApart)
      grid.taskLessons.append((file.name, lesson.windows))
    }
    return grid
  }

  private func report(_ rows: [SweepRow], _ work: SweepWork, notes: [String]) -> SweepReport {
    SweepReport(
      rows: rows, work: work, notes: notes, model: "m", fingerprint: "f", synthetic: false,
      provenance: Provenance(model: model, cpu: CPUOptions(threads: 2), version: "0"))
  }

  @Test func `a sweep has every selector, part and density, on text and tasks`() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let work = try work()
    let (points, notes) = try grid(work).points(model: model, folder: folder.path)
    #expect(
      notes == ["nearest, heads: it cannot choose heads", "nearest, both: it cannot choose heads"])
    let path = folder.appendingPathComponent("journal").path
    let run = {
      var steps: [(Int, Int)] = []
      let rows = try SweepRun(
        model: model, points: points, work: work, journal: try ScoreJournal(path: path)
      ).run { steps.append(($0, $1)) }
      return (rows, steps)
    }
    let (rows, steps) = try run()
    #expect(
      rows.map(\.selector) == ["dense", "exact"] + Array(repeating: "oracle", count: 3)
        + ["nearest"] + Array(repeating: "random", count: 3)
        + Array(repeating: "static, one", count: 3) + Array(repeating: "static, two", count: 3))
    #expect(try #require(steps.last).0 == steps.last?.1)
    #expect(steps.map(\.0) == steps.map(\.0).sorted())
    for row in rows {
      let (prompt, decode) = (try #require(row.prompt), try #require(row.decode))
      #expect(prompt.windows == 2 && decode.windows == 1 && decode.standardError.value == nil)
      #expect(prompt.tokensPerSecond.value == nil && (decode.tokensPerSecond.value ?? 0) > 0)
      #expect(row.tasks.map(\.task) == ["one", "two", "one", "two"])
      #expect(row.tasks.map(\.shots) == [0, 0, 1, 1])
      if row.mode != "sparse" {
        #expect(prompt.perplexityIncrease.value == 0 && prompt.sameChoice.value == 1)
        #expect(row.tasks.allSatisfy { $0.flips.value == 0 })
      } else {
        #expect((prompt.divergence.value ?? 0) > 0)
        #expect(prompt.neuronDensity.value == 1 || row.part != .heads)
      }
    }
    // A second run takes everything from the journal.
    let again = try run()
    #expect(again.0 == rows && again.1.allSatisfy { $0.0 == 0 })
    let report = report(rows, work, notes: notes)
    #expect(try SweepReport(json: Array(report.json().utf8)) == report)
    #expect(report.text.contains("left out: nearest, heads"))
    let average = try #require(report.average(row: 2, shots: 0)?.accuracy.value)
    let tasks = rows[2].tasks(shots: 0).compactMap(\.accuracy.value)
    #expect(abs(average - tasks.reduce(0, +) / 2) < 1e-4)
    #expect(throws: ReportError.self) { try SweepReport(json: Array("{}".utf8)) }
  }

  @Test func `a stopped sweep reads only what is missing`() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    var work = try work()
    work.tasks = []
    let points = try grid(work).points(model: model, folder: folder.path).points
    let journal = ScoreJournal()
    func total(_ points: [SweepPoint], _ work: SweepWork) throws -> Int {
      var total = 0
      _ = try SweepRun(model: model, points: points, work: work, journal: journal).run {
        total = max(total, $1)
      }
      return total
    }
    var half = work
    half.promptWindows.removeLast()
    #expect(try total(Array(points.prefix(2)), half) > 0)
    // The other window by two and dense, and both by the third beside dense, once through decode.
    #expect(try total(Array(points.prefix(3)), work) == 16 * 2 + 16 * 4 + 16 * 2 * 5)
    #expect(try total(Array(points.prefix(3)), work) == 0)
  }
}
