import Foundation
import Testing

/// `dejavu eval --tasks` at its door.
struct TaskCommandTests {
  private let folder: URL

  init() throws {
    folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-tasks-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let rows = ["open a jar", "cool the soup", "dry a coat"].map {
      #"{"goal": "\#($0)", "sol1": "Turn it.", "sol2": "Sing a song.", "label": 0}"#
    }
    try Data(rows.joined(separator: "\n").utf8)
      .write(to: folder.appendingPathComponent("piqa.jsonl"))
    try Data(#"{"text": "The sea was wide and deep"}"#.utf8)
      .write(to: folder.appendingPathComponent("lambada.jsonl"))
  }

  private func eval(_ arguments: String...) throws -> Program.Result {
    try Program.run(["eval", "--task-data", folder.path] + arguments)
  }

  private func documentedKeys(_ heading: String) throws -> Set<String> {
    let section = try #require(
      Repository.text("Documentation/JSON.md").components(separatedBy: "\n## ")
        .first { $0.hasPrefix(heading) })
    return Set(section.matches(of: /(?m)^\| `([a-z0-9_]+)`/).map { String($0.1) })
  }

  @Test func `tasks print the documented keys, and a run is level with itself`() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let result = try eval("--tasks", "all", "--plan", "1%", "--json", "--quiet")
    #expect(result.errors == "")
    let object = try parsedObject(result.output)
    #expect(Set(object.keys) == (try documentedKeys("`dejavu eval --tasks`\n")))
    let tasks = try #require(object["tasks"] as? [[String: Any]])
    #expect(tasks.map { $0["task"] as? String } == ["lambada_openai", "piqa"])
    let keys = try documentedKeys("`dejavu eval --tasks`: a row")
    for task in tasks {
      let rows = try #require(task["rows"] as? [[String: Any]])
      #expect(rows.map { $0["mode"] as? String } == ["dense", "sparse", "sparse"])
      #expect(rows.allSatisfy { Set($0.keys) == keys })
    }
    let earlier = folder.appendingPathComponent("earlier.json")
    try Data(result.output.utf8).write(to: earlier)
    let again = try parsedObject(
      eval("--tasks", "piqa", "--against", earlier.path, "--json", "--quiet").output)
    let against = try #require((again["against"] as? [[String: Any]])?.first)
    let difference = try #require(against["difference"] as? [String: Any])
    #expect(difference["mean"] as? Double == 0 && difference["items"] as? Int == 3)
    let others = try eval("--tasks", "piqa", "--shots", "1", "--against", earlier.path, "--quiet")
    #expect(others.status == 65 && others.errors.contains("no item in common"))
  }

  /// Arguments by their exit code, with a space between them.
  private static let refused: [Int32: [String]] = [
    64: [
      "--tasks piqa --perplexity -", "--tasks piqa --windows 1", "--tasks piqa --shots 33",
      "--tasks piqa --limit 0", "--tasks ../piqa", "--tasks ,", "--shots 1",
    ],
    65: ["--tasks piqa --shots 3", "--tasks piqa --against /dev/null"],
    66: ["--tasks boolq"],
  ]

  @Test(arguments: [Int32(64), 65, 66])
  func `what cannot be asked says so on one line`(status: Int32) throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    for arguments in Self.refused[status] ?? [] {
      let words = arguments.split(separator: " ").map(String.init)
      let result = try Program.run(["eval", "--task-data", folder.path, "--quiet"] + words)
      #expect(result.status == status, "\(result.errors)")
      #expect(result.output == "" && result.errors.filter { $0 == "\n" }.count == 1)
    }
  }
}
