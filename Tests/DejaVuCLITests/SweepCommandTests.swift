import Foundation
import Testing

/// `dejavu eval --sweep` and its texts at their door.
struct SweepCommandTests {
  private let folder = TemporaryFolder()

  private static let story = String(
    repeating: "Once upon a time there was a sea, and the sea was wide. ", count: 24)

  private func documentedKeys(_ heading: String) throws -> Set<String> {
    let section = try #require(
      Repository.text("Documentation/JSON.md").components(separatedBy: "\n## ")
        .first { $0.hasPrefix(heading) })
    return Set(section.matches(of: /(?m)^\| `([a-z0-9_]+)`/).map { String($0.1) })
  }

  @Test func `a sweep prints the documented keys, and goes on from its journal`() throws {
    let rows = (0..<2).map {
      #"{"question": "What \#($0)?", "choices": ["Turn it.", "Sing a song."], "answer": 0}"#
    }
    try Data(rows.joined(separator: "\n").utf8).write(to: folder.url("own.jsonl"))
    let arguments = [
      "eval", "--sweep", "--perplexity", "-", "--windows", "1", "--length", "16", "--densities",
      "0.5", "--parts", "mlp,heads", "--selectors", "exact,oracle,random", "--plan", "1%",
      "--tasks", "own", "--task-data", folder.path(""), "--shots", "1", "--task-static",
      "--journal", folder.path("journal"), "--json", "--quiet",
    ]
    let result = try Program.run(arguments, input: Array(Self.story.utf8))
    #expect(result.errors == "")
    let object = try parsedObject(result.output)
    // Members that may be left out are: all items are fewer than the limit, which stays.
    #expect(Set(object.keys) == (try documentedKeys("`dejavu eval --sweep`\n")))
    let found = try #require(object["rows"] as? [[String: Any]])
    #expect(
      found.map { $0["selector"] as? String } == [
        "dense", "plan 1%", "exact", "oracle", "oracle", "random", "random", "static, own",
        "static, own",
      ])
    let keys = try documentedKeys("`dejavu eval --sweep`: a row")
    #expect(found.allSatisfy { Set($0.keys).union(["part"]) == keys })
    let decode = try #require(found[1]["decode"] as? [String: Any])
    #expect(Set(decode.keys) == (try documentedKeys("`dejavu eval --sweep`: `prompt`")))
    let lines = try String(contentsOf: folder.url("journal"), encoding: .utf8)
    #expect(try Program.run(arguments, input: Array(Self.story.utf8)).output == result.output)
    #expect(try String(contentsOf: folder.url("journal"), encoding: .utf8) == lines)
  }

  @Test func `a sweep of a text alone goes on from its journal`() throws {
    let arguments = [
      "eval", "--sweep", "--perplexity", "-", "--windows", "1", "--length", "16", "--densities",
      "0.5", "--parts", "mlp", "--selectors", "oracle", "--journal", folder.path("windows"),
      "--json", "--quiet",
    ]
    let result = try Program.run(arguments, input: Array(Self.story.utf8))
    #expect(result.errors == "")
    let lines = try String(contentsOf: folder.url("windows"), encoding: .utf8)
    #expect(lines.contains("\"window\""))
    #expect(try Program.run(arguments, input: Array(Self.story.utf8)).output == result.output)
    #expect(try String(contentsOf: folder.url("windows"), encoding: .utf8) == lines)
  }

  /// Arguments behind `eval --quiet`, with a space between them.
  @Test(arguments: [
    "--sweep", "--sweep --perplexity - --path decode", "--sweep --perplexity - --mlp-density 0.5",
    "--sweep --perplexity - --densities 0", "--sweep --perplexity - --parts all",
    "--densities 0.5 --perplexity -", "--task-static --perplexity -", "--perplexity - --all",
    "--perplexity - --plan 1% --all --windows 2", "--perplexity - --plan 1% --selectors oracle",
    "--perplexity - --plan 1% --speed --path prompt", "--tasks piqa --text-format jsonl",
    "--perplexity - --calibration x", "--perplexity - --journal j",
  ])
  func `what cannot be swept or compared is wrong usage`(arguments: String) throws {
    let words = arguments.split(separator: " ").map(String.init)
    let result = try Program.run(["eval", "--quiet"] + words, input: Array(Self.story.utf8))
    #expect(result.status == 64 && result.output == "", "\(result.errors)")
  }

  @Test func `a text that is not what its name says is refused in a sentence`() throws {
    try Data("no json".utf8).write(to: folder.url("x.jsonl"))
    try Data().write(to: folder.url("empty.json.gz"))
    try Data([0x1F, 0x8B, 8, 0, 0, 0]).write(to: folder.url("cut.json.gz"))
    for (name, words) in [("x.jsonl", "line 1 of"), ("cut.json.gz", "cannot unpack")] {
      let result = try Program.run("eval", "--perplexity", folder.path(name), "--quiet")
      #expect(result.status == 65 && result.errors.contains(words), "\(result.errors)")
      #expect(result.errors.filter { $0 == "\n" }.count == 1)
    }
    let empty = try Program.run("eval", "--perplexity", folder.path("empty.json.gz"), "--quiet")
    #expect(empty.status == 65)
    let plain = try Program.run(
      ["eval", "--perplexity", "-", "--text-format", "jsonl", "--context", "16", "--json"],
      input: Array(#"{"text": "The sea was wide and deep, and nobody knew it."}"#.utf8))
    let object = try parsedObject(plain.output)
    #expect(object["text_format"] as? String == "jsonl")
  }
}
