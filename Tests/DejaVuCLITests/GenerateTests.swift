import Foundation
import Testing

struct GenerateTests {
  private static let prompt = "Once upon a time"

  private func text(_ arguments: String...) throws -> String {
    let result = try Program.run(["generate", "--quiet"] + Program.greedy + arguments)
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.errors == "")
    return result.output
  }

  @Test func `the default model continues a text`() throws {
    let result = try Program.run(["generate", Self.prompt, "-n", "32"] + Program.greedy)
    #expect(result.status == 0)
    try Snapshot.check(result.output, "generate")
    #expect(
      result.errors.firstMatch(
        of:
          /^32 tokens, [\d.]+ tokens\/s, [\d.]+ MB a token, first token after [\d.]+ s \([\d.]+ s of it loading\)\n$/
      ) != nil, "\(result.errors)")
  }

  @Test func `a mode, a thread or an environment changes no text`() throws {
    let text = try text(Self.prompt, "-n", "24")
    #expect(try self.text(Self.prompt, "-n", "24", "--sparsity", "exact") == text)
    #expect(try self.text(Self.prompt, "-n", "24", "--threads", "2") == text)
    let other = try Program.run(
      ["generate", Self.prompt, "-n", "24"] + Program.greedy,
      environment: ["LC_ALL": "de_DE.UTF-8", "TERM": "xterm", "NO_COLOR": "1"])
    #expect(other.output == text)
  }

  @Test func `every instruction set gives the same first words`() throws {
    let text = try text(Self.prompt, "-n", "8")
    #expect(try self.text(Self.prompt, "-n", "8", "--isa", "scalar") == text)
  }

  @Test func `the prompt may come through a pipe`() throws {
    let arguments = ["generate", "--quiet", "-n", "16"] + Program.greedy
    let expected = try text(Self.prompt, "-n", "16")
    for ending in ["", "\n", "\r\n"] {
      let input = Array((Self.prompt + ending).utf8)
      #expect(try Program.run(arguments, input: input).output == expected)
      #expect(try Program.run(arguments + ["-"], input: input).output == expected)
    }
  }

  @Test(arguments: [[0xFF, 0xFE], [0], [0xC3], [0xED, 0xA0, 0x80], [13], [0xEF, 0xBB, 0xBF]])
  func `bytes that are no text do no harm`(bytes: [UInt8]) throws {
    let result = try Program.run(["generate", "-n", "2"] + Program.greedy, input: bytes)
    #expect(result.status == 0, "\(result.errors)")
  }

  @Test func `a stop text ends the text before it`() throws {
    let whole = try text(Self.prompt, "-n", "32")
    let result = try Program.run(
      ["generate", Self.prompt, "-n", "32", "--stop", "zzz", "--stop", "state of", "--json"]
        + Program.greedy)
    let object = try parsedObject(result.output)
    let text = try #require(object["text"] as? String)
    #expect(whole.hasPrefix(text + "state of"))
    #expect(object["finish_reason"] as? String == "stop")
  }

  @Test func `a seed gives the same text again, another one another`() throws {
    func sample(_ seed: String) throws -> String {
      try Program.run("generate", Self.prompt, "-n", "24", "--seed", seed, "--temperature", "1")
        .output
    }
    let first = try sample("7")
    #expect(try sample("7") == first)
    #expect(try sample("8") != first)
  }

  @Test func `a seed that was drawn is printed and can be used`() throws {
    let arguments = ["generate", Self.prompt, "-n", "16", "--temperature", "1"]
    let first = try Program.run(arguments)
    let seed = try #require(first.errors.firstMatch(of: /seed (\d+)/)?.1)
    #expect(try Program.run(arguments + ["--seed", String(seed)]).output == first.output)
  }

  @Test func `no bar, no colour and no control character reach a pipe`() throws {
    let result = try Program.run(
      ["generate", Self.prompt, "-n", "8"], environment: ["TERM": "xterm-256color"])
    for text in [result.output, result.errors] {
      #expect(!text.contains("\u{1B}") && !text.contains("\r"))
    }
  }

  @Test func `control-token text is text unless asked for`() throws {
    func tokens(_ arguments: String...) throws -> Int? {
      let result = try Program.run(["generate", "a</s>b", "-n", "1", "--json"] + arguments)
      return try parsedObject(result.output)["prompt_tokens"] as? Int
    }
    let plain = try #require(try tokens())
    let parsed = try #require(try tokens("--parse-special"))
    #expect(parsed < plain)
  }

  @Test func `DEJAVU_MODEL names another model`() throws {
    let result = try Program.run(
      ["generate", "x"], environment: ["DEJAVU_MODEL": "/nonexistent/model"])
    #expect(result.status == 66)
    #expect(result.errors.contains("/nonexistent/model"))
  }
}
