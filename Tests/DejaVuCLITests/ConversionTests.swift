import Foundation
import Testing

struct ConversionTests {
  private let folder = TemporaryFolder()
  private let model = Repository.root.appendingPathComponent("Models/opt-16m").path

  private func text(of path: String) throws -> String {
    let result = try Program.run(
      ["generate", "The history of", "-n", "24", "--model", path] + Program.greedy)
    #expect(result.status == 0, "\(result.errors)")
    return result.output
  }

  private func inspected(_ path: String) throws -> [String: Any] {
    try parsedObject(try Program.run("inspect", path, "--json").output)
  }

  @Test func `a packed model gives the same text and fingerprint`() throws {
    #expect(try Program.run("pack", model, folder.path("out")).status == 0)
    #expect(folder.names == ["out"])
    #expect(try text(of: folder.path("out")) == text(of: model))
    let packed = try inspected(folder.path("out"))
    #expect(packed["packed"] as? Bool == true)
    #expect(packed["fingerprint"] as? String == (try inspected(model)["fingerprint"] as? String))
  }

  @Test func `a model without a tokenizer is packed, measured and said to have none`() throws {
    let source = folder.url("source")
    try FileManager.default.createDirectory(at: source, withIntermediateDirectories: true)
    for name in ["config.json", "model.safetensors"] {
      try FileManager.default.copyItem(
        atPath: model + "/" + name, toPath: source.appendingPathComponent(name).path)
    }
    let result = try Program.run("pack", source.path, folder.path("out"))
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.errors.contains("warning: there is no tokenizer in"))
    let bench = try Program.run(
      "bench", "--model", source.path, "--packed", folder.path("out"), "--no-prompt", "--depth",
      "4", "--tokens", "2", "--rounds", "1", "--threads", "1", "--json", "--plot",
      folder.path("plot.svg"))
    #expect(bench.status == 0, "\(bench.errors)")
    let memory = try #require(try parsedObject(bench.output)["memory"] as? [String: Any])
    let first = try #require(memory["first_token"] as? [[String: Any]])
    #expect(first.compactMap { $0["source"] as? String } == ["checkpoint", "packed"])
    #expect(first.allSatisfy { $0["time_to_first_token_ms"] as? Double ?? 0 > 0 })
    let packing = try #require(memory["packing"] as? [String: Any])
    #expect(packing["packing_gb_per_s"] as? Double ?? 0 > 0)
    #expect(packing["fault_in_share"] as? Double ?? 0 > 0)
    #expect(folder.text("plot.svg").hasPrefix("<?xml"))
  }

  @Test func `a broken tokenizer is refused before anything is written`() throws {
    let source = folder.url("source")
    try FileManager.default.createDirectory(at: source, withIntermediateDirectories: true)
    for name in ["config.json", "model.safetensors"] {
      try FileManager.default.copyItem(
        atPath: model + "/" + name, toPath: source.appendingPathComponent(name).path)
    }
    try Data("{".utf8).write(to: source.appendingPathComponent("tokenizer.json"))
    let result = try Program.run("pack", source.path, folder.path("out"))
    #expect(result.status == 65)
    #expect(folder.names == ["source"])
  }

  @Test(arguments: ["10MB", "5GB"])
  func `a converted model gives the same text and fingerprint`(shardSize: String) throws {
    let result = try Program.run(
      "convert", model, folder.path("out"), "--shard-size", shardSize)
    #expect(result.status == 0, "\(result.errors)")
    #expect(try text(of: folder.path("out")) == text(of: model))
    let hasIndex = FileManager.default.fileExists(
      atPath: folder.path("out/model.safetensors.index.json"))
    #expect(hasIndex == (shardSize == "10MB"))
    #expect(
      try inspected(folder.path("out"))["fingerprint"] as? String
        == (try inspected(model)["fingerprint"] as? String))
  }

  @Test func `a checkpoint of PyTorch becomes safetensors`() throws {
    let fixtures = Repository.root.appendingPathComponent("Tests")
    let source = folder.url("source")
    try FileManager.default.createDirectory(at: source, withIntermediateDirectories: true)
    try FileManager.default.copyItem(
      at: fixtures.appendingPathComponent("DejaVuFormatsTests/Fixtures/pickle/tiny-opt.bin"),
      to: source.appendingPathComponent("pytorch_model.bin"))
    try FileManager.default.copyItem(
      at: fixtures.appendingPathComponent("Fixtures/goldens/tiny-opt/config.json"),
      to: source.appendingPathComponent("config.json"))
    let result = try Program.run("convert", source.path, folder.path("out"))
    #expect(result.status == 0, "\(result.errors)")
    let (before, after) = (try inspected(source.path), try inspected(folder.path("out")))
    for key in ["fingerprint", "dtype"] { #expect(before[key] as? String == after[key] as? String) }
    #expect(before["bytes"] as? Int == after["bytes"] as? Int)
  }

  @Test(arguments: ["convert", "pack", "quantize"])
  func `a folder that is there is left alone`(command: String) throws {
    try FileManager.default.createDirectory(
      at: folder.url("out"), withIntermediateDirectories: true)
    try Data("mine".utf8).write(to: folder.url("out/file"))
    let more = command == "quantize" ? ["--method", "rtn"] : []
    let result = try Program.run([command, model, folder.path("out")] + more)
    #expect(result.status == 74)
    #expect(folder.text("out/file") == "mine")
    #expect(folder.names == ["out"])
  }

  @Test func `what is packed is not packed again`() throws {
    #expect(try Program.run("pack", model, folder.path("out")).status == 0)
    let again = try Program.run("pack", folder.path("out"), folder.path("again"))
    #expect(again.status == 65)
    #expect(again.errors.contains("packed already"))
    #expect(folder.names == ["out"])
  }
}
