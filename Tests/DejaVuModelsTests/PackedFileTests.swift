import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuModels
import Foundation
import Testing

struct PackedFileTests {
  /// Packs a golden's checkpoint into a folder of its own, without the checkpoint's weights.
  private func packed(_ golden: Golden, files: [String: String] = [:]) throws -> ModelCopy {
    let folder = try ModelCopy(
      of: golden.modelFolder, without: ["model.safetensors"], files: files)
    let loaded = try ModelFolder.load(golden.modelFolder, team: try ThreadTeam(threads: 1))
    let layout = try #require(loaded.layout)
    // The first tensor starts at the beginning.
    try PackedFile.write(
      layout, base: loaded.model.tokenEmbedding.base, to: folder.path,
      metadata: ["dejavu.fingerprint": loaded.fingerprint], progress: { _ in })
    return folder
  }

  private func file(_ folder: ModelCopy) -> String { folder.path + "/" + PackedFile.fileName }

  private func load(_ folder: String) throws -> LoadedModel {
    try ModelFolder.load(folder, team: try ThreadTeam(threads: 1))
  }

  private func logits(_ model: LoadedModel, _ ids: [TokenID]) throws -> [[Float]] {
    let engine = try Engine(model: model.model, backend: .cpu(CPUOptions(threads: 1)))
    let session = try engine.makeSession(capacity: ids.count + 1)
    var rows: [[Float]] = []
    try session.run(ids[...], wanted: .all) { rows.append(Array($1)) }
    rows.append(Array(try session.decode(ids[0])))
    return rows
  }

  @Test(arguments: Golden.committed)
  func `a packed model gives the checkpoint's logits bit for bit`(golden: Golden) throws {
    let ids = Array(try golden.cases()[1].ids)
    let folder = try packed(golden)
    let (original, mapped) = (try load(golden.modelFolder), try load(folder.path))
    #expect(mapped.isMapped && !original.isMapped)
    #expect(mapped.fingerprint == original.fingerprint)
    #expect(try logits(mapped, ids) == logits(original, ids))
  }

  @Test
  func `token ids that generation_config.json lacks are those of config.json`() throws {
    let golden = Golden.defaultModel
    let files = ["generation_config.json": "{\"temperature\": 0.5, \"eos_token_id\": 99999}"]
    let copies = [
      try packed(golden, files: files), try ModelCopy(of: golden.modelFolder, files: files),
    ]
    for copy in copies {
      let loaded = try load(copy.path)
      #expect(loaded.generation.bosToken == 2)
      #expect(loaded.generation.eosTokens == [2])
      #expect(loaded.generation.temperature == 0.5)
      #expect(loaded.warnings.contains { $0.hasPrefix("token 99999 ") })
    }
  }

  @Test
  func `a packed file cut short is refused`() throws {
    let folder = try packed(Golden.tiny[0])
    let bytes = try Data(contentsOf: URL(fileURLWithPath: file(folder)))
    for count in [0, 7, 100, bytes.count / 2, bytes.count - 1] {
      try bytes.prefix(count).write(to: URL(fileURLWithPath: file(folder)))
      #expect(throws: CheckpointError.self) { try load(folder.path) }
    }
  }

  @Test
  func `a packed file of another model is refused`() throws {
    let config = try String(
      contentsOfFile: Golden.tiny[4].modelFolder + "/config.json", encoding: .utf8)
    for golden in Golden.tiny where golden != Golden.tiny[4] {
      let folder = try packed(golden, files: ["config.json": config])
      #expect(throws: CheckpointError.self) { try load(folder.path) }
    }
  }

  @Test
  func `a plain checkpoint under the packed name is refused`() throws {
    let golden = Golden.tiny[0]
    let folder = try ModelCopy(of: golden.modelFolder)
    try FileManager.default.copyItem(
      atPath: golden.modelFolder + "/model.safetensors", toPath: file(folder))
    #expect {
      try load(folder.path)
    } throws: { error in
      guard case .unsupported? = error as? CheckpointError else { return false }
      return "\(error)".contains("pack or quantize the model again")
    }
  }

  @Test
  func `tensors that lie off the cache lines are refused`() throws {
    let golden = Golden.tiny[0]
    let folder = try packed(golden)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: file(folder)))
    let header = bytes.prefix(8).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
    // Four more spaces behind the header move every tensor.
    var moved = Data((0..<8).map { UInt8(truncatingIfNeeded: (header + 4) >> (8 * $0)) })
    moved += bytes[8..<8 + header] + Data(repeating: 0x20, count: 4) + bytes[(8 + header)...]
    try moved.write(to: URL(fileURLWithPath: file(folder)))
    #expect(throws: CheckpointError.self) { try load(folder.path) }
  }
}
