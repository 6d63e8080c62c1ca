import Foundation
import Testing

struct QuantizeTests {
  private let folder = TemporaryFolder()
  private let model = Repository.root.appendingPathComponent("Models/opt-16m").path

  private func quantize(_ arguments: String...) throws -> Program.Result {
    try Program.run(["quantize", model, folder.path("out")] + arguments)
  }

  @Test func `a copy in codes says what it holds`() throws {
    let result = try quantize(
      "--bits", "4", "--method", "search", "--head-bits", "6", "--shard-size", "4MB", "--json")
    #expect(result.status == 0, "\(result.errors)")
    let figures = try parsedObject(result.output)
    #expect(figures["schema"] as? String == "dejavu/quantize/1")
    #expect(figures["files"] as? Int ?? 0 > 1)
    let inspected = try Program.run("inspect", folder.path("out"), "--json")
    let (copy, source) = (
      try parsedObject(inspected.output),
      try parsedObject(try Program.run("inspect", model, "--json").output)
    )
    #expect(copy["fingerprint"] as? String == source["fingerprint"] as? String)
    #expect(copy["dtype"] as? String == "int4-g64")
    #expect(copy["quantization"] as? String == "search")
    #expect(copy["packed"] as? Bool == true)
    #expect(copy["bytes"] as? Int == figures["bytes"] as? Int)
    #expect(source["quantization"] is NSNull)
    let text = try Program.run("inspect", folder.path("out")).output
    #expect(text.contains("int4-g64 and int6-g64"), "\(text)")
  }

  @Test func `predictors and their plans travel with the codes`() throws {
    #expect(try quantize("--method", "rtn").status == 0)
    let names = ["predictors.safetensors", "tokenizer.json", "config.json"]
    for name in names {
      #expect(
        FileManager.default.contentsEqual(
          atPath: folder.path("out/" + name), andPath: model + "/" + name))
    }
  }

  @Test func `published codes are packed as they are and not quantized`() throws {
    let published = Repository.root.appendingPathComponent("Tests/Fixtures/published/opt-gptq").path
    let refused = try Program.run(
      "quantize", published, folder.path("out"), "--method", "rtn")
    #expect(refused.status == 65)
    #expect(refused.errors.contains("holds codes of gptq"), "\(refused.errors)")
    #expect(refused.errors.contains("'dejavu pack' keeps as they are"), "\(refused.errors)")
    #expect(folder.names.isEmpty)
    #expect(try Program.run("pack", published, folder.path("out"), "--quiet").status == 0)
    let inspected = try [published, folder.path("out")].map {
      try parsedObject(try Program.run("inspect", $0, "--json").output)
    }
    for figures in inspected {
      #expect(figures["quantization"] as? String == "gptq, as published")
      #expect(figures["fingerprint"] as? String == inspected[0]["fingerprint"] as? String)
    }
    #expect(inspected.map { $0["packed"] as? Bool } == [false, true])
  }

  @Test func `what a method needs is asked for before anything is read`() throws {
    let result = try quantize("--method", "gptq")
    #expect(result.status == 64)
    #expect(result.errors.contains("--text"))
    #expect(folder.names.isEmpty)
  }

  @Test(arguments: [
    ["--bits", "5"], ["--group", "48"], ["--head-bits", "1"], ["--embeddings", "7"],
    ["--damping", "0"], ["--method", "magic"], ["--windows", "0"], ["--length", "8"],
  ])
  func `a format that there is not is 64 and one line`(arguments: [String]) throws {
    let result = try Program.run(["quantize", model, folder.path("out")] + arguments)
    #expect(result.status == 64)
    #expect(result.errors.contains(arguments[0]), "\(result.errors)")
    #expect(folder.names.isEmpty)
  }

  @Test func `too short a text and a copy of a copy are refused`() throws {
    try Data("The sea.".utf8).write(to: folder.url("text"))
    let short = try quantize("--text", folder.path("text"))
    #expect(short.status == 65)
    #expect(short.errors.contains("longer text"), "\(short.errors)")
    #expect(folder.names == ["text"])
    #expect(try quantize("--method", "rtn").status == 0)
    let again = try Program.run(
      "quantize", folder.path("out"), folder.path("again"), "--method", "rtn")
    #expect(again.status == 65)
    #expect(again.errors.contains("packed already"))
  }
}
