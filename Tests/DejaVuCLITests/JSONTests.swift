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

  @Test func `inspect --sparsity without a text is wrong usage, and names what is missing`() throws
  {
    let result = try Program.run("inspect", "--sparsity")
    #expect(result.status == 64)
    #expect(result.errors.contains("add --text FILE"))
    let other = try Program.run("inspect", "--text", "x")
    #expect(other.status == 64 && other.errors.contains("add --sparsity"))
  }

  @Test func `convert, pack and quantize print the documented keys`() throws {
    let folder = TemporaryFolder()
    let model = Repository.root.appendingPathComponent("Models/opt-16m").path
    for command in ["convert", "pack", "quantize"] {
      let more = command == "quantize" ? ["--method", "rtn"] : []
      let result = try Program.run([command, model, folder.path(command), "--json"] + more)
      let object = try parsedObject(result.output)
      #expect(
        Set(object.keys)
          == (try documentedKeys(
            "convert`, `dejavu pack`, `dejavu quantize` and `dejavu synthesize")))
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

  /// A text of a few hundred tokens.
  private static let story = Array(
    String(repeating: "Once upon a time there was a sea, and the sea was wide. ", count: 24).utf8)

  @Test func `eval prints the documented keys of selectors side by side`() throws {
    let result = try Program.run(
      [
        "eval", "--perplexity", "-", "--selectors", "exact,predicted,oracle,nearest,random",
        "--mlp-density", "0.25", "--windows", "2", "--length", "16", "--json", "--quiet",
      ], input: Self.story)
    #expect(result.errors == "")
    let object = try parsedObject(result.output)
    #expect(
      Set(object.keys) == (try documentedKeys("eval` with `--plan` or `--selectors")))
    #expect(object["schema"] as? String == "dejavu/eval-selectors/1")
    #expect(object["length"] as? Int == 16 && object["tokens"] as? Int == 30)
    let rows = try #require(object["rows"] as? [[String: Any]])
    #expect(
      rows.map { $0["selector"] as? String } == [
        "dense", "exact", "predicted", "oracle", "nearest", "random",
      ])
    let keys = try documentedKeys("eval`: a row of `rows")
    #expect(rows.allSatisfy { Set($0.keys) == keys })
    #expect(rows.allSatisfy { $0["tokens_per_second"] is NSNull })
    #expect(rows[1]["perplexity_increase"] as? Double == 0)
  }

  @Test func `eval prints the layers of a plan, and its speed where asked`() throws {
    let result = try Program.run(
      [
        "eval", "--perplexity", "-", "--plan", "1%", "--speed", "--windows", "2", "--length", "16",
        "--json",
      ], input: Self.story)
    let object = try parsedObject(result.output)
    #expect(object["schema"] as? String == "dejavu/eval-plan/1")
    let rows = try #require(object["rows"] as? [[String: Any]])
    #expect(rows.map { $0["mode"] as? String } == ["dense", "exact", "sparse"])
    #expect(rows.allSatisfy { ($0["tokens_per_second"] as? Double ?? 0) > 0 })
    let layers = try #require(object["layers"] as? [[String: Any]])
    #expect(layers.count == 6)
    let keys = try documentedKeys("eval`: a layer of `layers")
    #expect(layers.allSatisfy { Set($0.keys) == keys })
  }

  @Test func `eval says that deferred and eager keys give the same losses`() throws {
    let arguments = [
      "eval", "--perplexity", "-", "--selectors", "random", "--head-density", "0.75",
      "--eager-keys", "--windows", "1", "--length", "64",
    ]
    let text = try Program.run(arguments, input: Self.story).output
    #expect(text.contains("random: deferred and eager keys give every token the same loss"))
    let object = try parsedObject(
      try Program.run(arguments + ["--json"], input: Self.story).output)
    let eager = try #require(object["eager_keys"] as? [[String: Any]])
    #expect(eager.count == 1 && eager[0]["greatest_difference"] as? Double == 0)
  }

  @Test func `eval writes streams for studies outside`() throws {
    let folder = TemporaryFolder()
    let result = try Program.run(
      [
        "eval", "--perplexity", "-", "--streams", folder.path("s.safetensors"), "--windows", "1",
        "--length", "16", "--json",
      ], input: Self.story)
    let object = try parsedObject(result.output)
    #expect(Set(object.keys) == (try documentedKeys("eval --streams")))
    let bytes = try Data(contentsOf: folder.url("s.safetensors"))
    #expect(bytes.count > 6 * 16 * 384 * 4)
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
