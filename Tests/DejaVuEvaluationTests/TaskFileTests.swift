import DejaVuEvaluation
import Foundation
import Testing

/// Published rows become the texts that lm-evaluation-harness 0.4.13 scores; the texts below are
/// worked out by hand from its task files.
struct TaskFileTests {
  private let folder: URL

  init() throws {
    folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-tasks-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  private func open(_ task: String, _ files: [String: String]) throws -> TaskFile {
    defer { try? FileManager.default.removeItem(at: folder) }
    for (name, text) in files {
      try Data(text.utf8).write(to: folder.appendingPathComponent(name))
    }
    return try TaskFile.open(task, in: folder.path)
  }

  private struct Case: CustomTestStringConvertible, Sendable {
    let task: String
    let row: String
    /// Context and continuation of every choice.
    let requests: [[String]]
    let gold: Int
    var testDescription: String { task }
  }

  private static let cases = [
    Case(
      task: "cb", row: #"{"premise": "P", "hypothesis": "H", "label": "neutral"}"#,
      requests: ["True", "False", "Neither"].map {
        ["P\nQuestion: H. True, False, or Neither?\nAnswer:", " " + $0]
      }, gold: 2),
    Case(
      task: "copa",
      row: #"{"premise": "It broke. ", "choice1": "He ran.", "choice2": "B", "#
        + #""question": "cause", "label": 1}"#,
      requests: [["It broke because", "  he ran."], ["It broke because", "  b"]], gold: 1),
    Case(
      task: "lambada", row: #"{"text": "one  two\n three"}"#,
      requests: [["one  two\n", " three"]], gold: 0),
    Case(
      task: "rte", row: #"{"premise": "P", "hypothesis": "H", "label": "not_entailment"}"#,
      requests: [
        ["P\nQuestion: H True or False?\nAnswer:", " True"],
        ["P\nQuestion: H True or False?\nAnswer:", " False"],
      ], gold: 1),
    Case(
      task: "winogrande",
      row: #"{"sentence": "So _ won. ", "option1": "A", "option2": "B", "answer": "2"}"#,
      requests: [["So A", " won."], ["So B", " won."]], gold: 1),
    Case(
      task: "hellaswag",
      row: #"{"activity_label": "Act", "ctx_a": "He [x] sits.", "ctx_b": "then HE", "#
        + #""endings": ["goes [title] up  now", "b"], "label": "0"}"#,
      requests: [
        ["Act: He sits. Then he", " goes. up now"], ["Act: He sits. Then he", " b"],
      ], gold: 0),
    Case(
      task: "boolq", row: #"{"passage": "P", "question": "is it", "answer": true}"#,
      requests: [
        ["P\nQuestion: is it?\nAnswer:", " no"], ["P\nQuestion: is it?\nAnswer:", " yes"],
      ], gold: 1),
    Case(
      task: "arc_easy",
      row: #"{"question": {"stem": "S", "choices": [{"text": "a", "label": "A"}, "#
        + #"{"text": "b", "label": "B"}]}, "answerKey": "B"}"#,
      requests: [["Question: S\nAnswer:", " a"], ["Question: S\nAnswer:", " b"]], gold: 1),
    Case(
      task: "openbookqa",
      row: #"{"question_stem": "S", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "#
        + #""answerKey": " A"}"#,
      requests: [["S", " a"], ["S", " b"]], gold: 0),
    Case(
      task: "mine", row: #"{"question": "S", "choices": ["a", "b"], "answer": 1}"#,
      requests: [["S", " a"], ["S", " b"]], gold: 1),
  ]

  @Test(arguments: cases)
  private func `a published row is asked as the harness asks it`(_ example: Case) throws {
    let item = try #require(
      open(example.task, [example.task + ".jsonl": example.row + "\n"]).items.first)
    #expect(item.requests().map { [$0.context, $0.continuation] } == example.requests)
    #expect(item.gold == example.gold)
    let shot = item.requests(behind: item.example)[item.gold]
    #expect(shot.context == item.example + item.requests()[item.gold].context)
    #expect(item.example.hasSuffix(" " + example.requests[item.gold][1].dropFirst() + "\n\n"))
  }

  @Test func `labels of PIQA come from the file beside its items`() throws {
    let rows = #"{"goal": "G", "sol1": "a", "sol2": "b"}"# + "\n"
    let file = try open("piqa", ["piqa.jsonl": rows + rows, "piqa-labels.lst": "0\n1\n"])
    #expect(file.items.map(\.gold) == [0, 1])
    #expect(file.items[0].requests()[1].context == "Question: G\nAnswer:")
  }

  @Test(arguments: [
    "{", "[]", "{}", #"{"goal": "G", "sol1": "a", "sol2": "b", "label": 2}"#,
    #"{"goal": 1, "sol1": "a", "sol2": "b", "label": 0}"#,
  ])
  func `a row that is no item is refused by its line`(row: String) throws {
    let good = #"{"goal": "G", "sol1": "a", "sol2": "b", "label": 0}"#
    let error = #expect(throws: TaskError.self) {
      try open("piqa", ["piqa.jsonl": good + "\n" + row + "\n"])
    }
    guard case .malformed(_, let line, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(line == 2)
  }

  @Test func `a task without data says what is wanted`() throws {
    let error = #expect(throws: TaskError.self) { try open("boolq", [:]) }
    #expect(error?.description.contains("boolq.jsonl") == true)
  }
}
