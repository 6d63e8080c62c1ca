import Foundation
import Testing

struct JSONTests {
  /// Every key of the table under a heading of `Documentation/JSON.md`.
  private func documentedKeys(_ heading: String) throws -> Set<String> {
    let text = try Repository.text("Documentation/JSON.md")
    let section = try #require(
      text.components(separatedBy: "\n## ").first { $0.hasPrefix("`dejavu \(heading)`") })
    return Set(section.matches(of: /(?m)^\| `([a-z0-9_]+)`/).map { String($0.1) })
  }

  @Test func `generate prints the documented keys`() throws {
    let result = try Program.run("generate", "The sea", "-n", "4", "--json", "--seed", "5")
    let object = try parsedObject(result.output)
    #expect(Set(object.keys) == (try documentedKeys("generate")))
    #expect(object["schema"] as? String == "dejavu/generate/1")
    #expect(object["completion_tokens"] as? Int == 4)
    #expect(object["prompt_tokens"] as? Int == 3)
    #expect(object["finish_reason"] as? String == "length")
    #expect(object["seed"] as? Int == 5)
    #expect(object["synthetic"] as? Bool == false)
    #expect((object["fingerprint"] as? String)?.count == 64)
    #expect(result.output.filter { $0 == "\n" }.count == 1)
  }

  @Test func `inspect prints the documented keys and counts every parameter`() throws {
    let object = try parsedObject(try Program.run("inspect", "--json").output)
    #expect(Set(object.keys) == (try documentedKeys("inspect")))
    #expect(object["parameters"] as? Int == 16_153_344)
    #expect(object["bytes"] as? Int == 32_306_688)
    let parts = try #require(object["parts"] as? [[String: Any]])
    #expect(parts.compactMap { $0["parameters"] as? Int }.reduce(0, +) == 16_153_344)
  }

  @Test func `convert and pack print the documented keys`() throws {
    let folder = TemporaryFolder()
    let model = Repository.root.appendingPathComponent("Models/opt-16m").path
    for command in ["convert", "pack"] {
      let result = try Program.run(command, model, folder.path(command), "--json")
      let object = try parsedObject(result.output)
      #expect(Set(object.keys) == (try documentedKeys("convert` and `dejavu pack")))
      #expect(object["schema"] as? String == "dejavu/\(command)/1")
    }
  }

  @Test func `eval prints the documented keys, of the default model`() throws {
    let result = try Program.run(
      ["eval", "--perplexity", "-", "--context", "16", "--json"],
      input: Array("Once upon a time there was a sea, and the sea was wide and deep.".utf8))
    let object = try parsedObject(result.output)
    #expect(Set(object.keys) == (try documentedKeys("eval")))
    #expect(object["schema"] as? String == "dejavu/eval/1")
    #expect((object["model"] as? String)?.hasSuffix("Models/opt-16m") == true)
    #expect(object["synthetic"] as? Bool == false)
    #expect(result.output.filter { $0 == "\n" }.count == 1)
    let losses = try #require(object["window_losses"] as? [[String: Any]])
    #expect(losses.count == object["windows"] as? Int)
    #expect(losses.allSatisfy { Set($0.keys) == ["document", "first", "tokens", "nll"] })
  }

  @Test(arguments: [
    (["generate", "x", "--top-p", "2", "--json"], 64),
    (["generate", "x", "--json", "--model", "/nonexistent"], 66),
    (["inspect", "/nonexistent", "--json"], 66),
    (["eval", "--perplexity", "/nonexistent", "--json"], 66),
  ])
  func `an error is an object too`(arguments: [String], code: Int) throws {
    let result = try Program.run(arguments)
    #expect(Int(result.status) == code)
    let object = try parsedObject(result.output)
    let error = try #require(object["error"] as? [String: Any])
    #expect(error["code"] as? Int == code)
    #expect(result.errors == "error: \(error["message"] as? String ?? "")\n")
  }
}
