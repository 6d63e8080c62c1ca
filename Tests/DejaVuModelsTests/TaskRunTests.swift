import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Foundation
import Testing

/// Items of tasks asked of the model in the box.
struct TaskRunTests {
  private let model: LanguageModel
  private let folder: URL

  init() throws {
    let cpu = CPUOptions(threads: 2, cacheType: .float32, multipliesPromptInBFloat16: false)
    model = try LanguageModel(path: Golden.defaultModel.modelFolder, backend: .cpu(cpu))
    folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-tasks-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  private static let goals = ["open a jar", "cool the soup", "dry a coat", "reach a shelf"]

  private func file() throws -> TaskFile {
    let rows = Self.goals.enumerated().map { index, goal in
      #"{"goal": "\#(goal)", "sol1": "Turn it.", "sol2": "Sing a long song.", "label": \#(index % 2)}"#
    }
    try Data((rows.joined(separator: "\n") + "\n").utf8)
      .write(to: folder.appendingPathComponent("piqa.jsonl"))
    return try TaskFile.open("piqa", in: folder.path)
  }

  private func columns() -> [TaskColumn] {
    let plan = SparsityPlan.uniform(
      "half", layers: model.architecture.layers, neurons: .fixed(Array(0..<700)))
    return TaskColumn.columns(
      of: [ComparedSubject("half", sparsity: Sparsity(plan: plan))], path: .prompt)
  }

  private func run(
    _ options: TaskOptions, journal: ScoreJournal? = nil, build: String = "1"
  ) throws -> (result: TaskResult, tokens: Int) {
    let run = try TaskRun(
      model: model, files: [try file()], columns: columns(), options: options, journal: journal,
      build: build)
    var tokens = 0
    let results = try run.run { done, _ in tokens = done }
    return (results[0], tokens)
  }

  @Test func `scores are those of the whole text read at once`() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let result = try run(TaskOptions()).result
    #expect(result.columns.map(\.positions) == [.everywhere, .everywhere, .continuation])
    let tokenizer = model.tokenizer
    for (item, scores) in zip(result.items, result.scores[0]) {
      for (request, score) in zip(item.requests(), scores) {
        let whole = tokenizer.encode(
          request.context + request.continuation, addingSpecialTokens: true,
          parsingSpecialTokens: true)
        let before = tokenizer.encode(
          request.context, addingSpecialTokens: true, parsingSpecialTokens: true)
        let session = try model.engine.makeSession(capacity: whole.count)
        let alone = try session.scores(of: whole, from: before.count)
        #expect(alone.count == score.tokens && score.tokens == whole.count - before.count)
        #expect(
          abs(alone.reduce(0) { $0 + $1.logProbability } - score.logProbability) < 1e-4)
      }
    }
    #expect(result.scores[1] != result.scores[0] && result.scores[2] != result.scores[0])
    #expect(result.scores[1] != result.scores[2])
  }

  @Test func `a run takes from the journal what it holds of the same question and program`() throws
  {
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("journal").path
    var options = TaskOptions()
    options.limit = 2
    let journal = try ScoreJournal(path: path)
    let first = try run(options, journal: journal)
    #expect(journal.count == 2 * 3 && first.tokens > 0)
    let again = try run(options, journal: journal)
    #expect(again.tokens == 0 && again.result.scores == first.result.scores)
    options.limit = nil
    let all = try run(options, journal: journal)
    #expect(journal.count == Self.goals.count * 3 && all.tokens > 0)
    // Another program, or other examples in front, and everything is asked anew.
    let other = try run(options, journal: journal, build: "2")
    #expect(other.tokens == all.tokens + first.tokens && other.result.scores == all.result.scores)
    options.shots = 1
    #expect(try run(options, journal: journal).result.scores[0] != all.result.scores[0])
  }

  @Test func `examples are other items, the same for a seed`() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    var options = TaskOptions()
    options.shots = 3
    let one = try run(options).result
    #expect(try run(options).result.scores == one.scores)
    options.seed = 2
    #expect(try run(options).result.scores != one.scores)
    options.shots = 4
    #expect(throws: TaskError.tooFewExamples(task: "piqa", asked: 4, found: 3)) {
      try run(options)
    }
  }
}
