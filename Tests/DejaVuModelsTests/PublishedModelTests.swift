import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuModels
import DejaVuTestSupport
import Foundation
import Testing

/// Checkpoints of GPTQ and AWQ as they are published, against what transformers says about the float32
/// models that their codes stand for.
struct PublishedModelTests {
  static let goldens = ["opt-gptq", "llama-awq", "llama-gptq-8bit"].map { name in
    let folder = Golden.root + "/Tests/Fixtures/published/\(name)"
    return Golden(name: name, modelFolder: folder, goldenFolder: folder)
  }

  @Test(arguments: goldens, InstructionSet.available)
  func `prompts and single tokens give transformers' logits, losses and tokens`(
    golden: Golden, instructionSet: InstructionSet
  ) throws {
    let engine = try golden.engine(.exactCache(instructionSet))
    for text in try golden.cases() {
      for prompt in [text.ids.count, 0] {
        var answer = Answer(to: text)
        let session = try engine.makeSession(capacity: text.ids.count + text.greedy.count)
        var next: [Float] = []
        try session.run(text.ids[..<prompt], wanted: .all) {
          answer.record($0, $1)
          next = Array($1)
        }
        for position in prompt..<text.ids.count {
          next = Array(try session.decode(text.ids[position]))
          next.withUnsafeBufferPointer { answer.record(position, $0) }
        }
        // Prompts are multiplied in float32, single tokens rounded to 16 bits.
        let allowed =
          prompt > 0 ? Double(GoldenTolerance.logits) : Tolerance.groupwiseLogits.bound
        #expect(Double(answer.logitDifference) < allowed)
        #expect(answer.lossDifference < GoldenTolerance.losses)
        for token in text.greedy {
          let best = next.withUnsafeBufferPointer { argmax($0) }
          #expect(best == Int(token) || next[best] - next[Int(token)] < GoldenTolerance.tie)
          next = Array(try session.decode(token))
        }
      }
    }
  }

  @Test(arguments: goldens)
  func `exact runs say what dense ones say and read less`(golden: Golden) throws {
    let engine = try golden.engine(.exactCache())
    let text = try #require(try golden.cases().last)
    func run(_ mode: RunMode) throws -> (logits: [[Float]], bytes: Int) {
      engine.cpu?.tally = Tally()
      let session = try engine.makeSession(capacity: text.ids.count, mode: mode)
      let logits = try text.ids.map { Array(try session.decode($0)) }
      return (logits, engine.cpu?.tally.bytes ?? 0)
    }
    let (dense, exact) = (try run(.dense), try run(.exact))
    try expectSameBits(exact.logits, dense.logits, golden.name)
    #expect(exact.bytes < dense.bytes)
  }

  @Test(arguments: goldens)
  func `the engine's matrices are Python's, element by element`(golden: Golden) throws {
    let loaded = try ModelFolder.load(golden.modelFolder, team: try ThreadTeam(threads: 2))
    let checkpoint = try Checkpoint.open(folder: golden.modelFolder)
    let file = try SafetensorsFile(path: golden.goldenFolder + "/golden.safetensors")
    let tensors = Dictionary(uniqueKeysWithValues: file.entries.map { ($0.name, $0) })
    for (role, coded) in checkpoint.codes {
      guard case .layer(let index, let part) = role else { continue }
      let matrix = loaded.model.layers[index].matrix(part)
      let stored = try #require(tensors["weight.\(coded.name).weight"])
      let rows = try #require(tensors["rows.\(coded.name).weight"])
      let isTransposed = part == .output || part == .down
      #expect((matrix.scales != nil) == isTransposed)
      for place in 0..<rows.shape[0] {
        let output = Int(
          rows.withBytes { $0.loadUnaligned(fromByteOffset: 8 * place, as: Int64.self) })
        for input in 0..<coded.inputs {
          let expected = stored.withBytes {
            $0.loadUnaligned(fromByteOffset: 4 * (place * coded.inputs + input), as: Float.self)
          }
          let found = isTransposed ? matrix.element(input, output) : matrix.element(output, input)
          #expect(found == expected, "\(coded.name) of \(output) and \(input)")
        }
      }
    }
  }

  // Packed ----------------------------------------------------------------------------------------

  private func packed(_ golden: Golden) throws -> ModelCopy {
    let folder = try ModelCopy(of: golden.modelFolder, without: ["model.safetensors"])
    let loaded = try ModelFolder.load(golden.modelFolder, team: try ThreadTeam(threads: 1))
    try PackedFile.write(
      try #require(loaded.layout), base: loaded.model.tokenEmbedding.base, to: folder.path,
      metadata: ["dejavu.fingerprint": loaded.fingerprint], progress: { _ in })
    return folder
  }

  @Test(arguments: goldens)
  func `packed codes give the same bits under the same fingerprint`(golden: Golden) throws {
    let folder = try packed(golden)
    let (mapped, original) = (
      try ModelFolder.load(folder.path, team: try ThreadTeam(threads: 1)),
      try ModelFolder.load(golden.modelFolder, team: try ThreadTeam(threads: 1))
    )
    #expect(mapped.isMapped && mapped.fingerprint == original.fingerprint)
    #expect(mapped.model.sharesScales && mapped.model.decodeBytes == original.model.decodeBytes)
    let text = try #require(try golden.cases().last)
    let logits = try [mapped, original].map { loaded in
      let engine = try Engine(model: loaded.model, backend: .cpu(CPUOptions(threads: 1)))
      let session = try engine.makeSession(capacity: text.ids.count)
      var rows: [[Float]] = []
      try session.run(text.ids.prefix(20), wanted: .all) { rows.append(Array($1)) }
      return try rows + text.ids.dropFirst(20).map { Array(try session.decode($0)) }
    }
    try expectSameBits(logits[0], logits[1], golden.name)
  }

  @Test func `packed codes without their scales, or with others, are refused by name`() throws {
    let folder = try packed(Self.goldens[0])
    let path = folder.path + "/" + PackedFile.fileName
    let original = try Data(contentsOf: URL(fileURLWithPath: path))
    let name = "layers.1.mlp.down_scales"
    func complaint(
      drop: Bool = false, metadata change: (inout [String: String]) -> Void = { _ in }
    ) throws -> String {
      try original.write(to: URL(fileURLWithPath: path))
      try rewrite(path, without: drop ? name : nil, change)
      do {
        _ = try ModelFolder.load(folder.path, team: try ThreadTeam(threads: 1))
        return "(no error)"
      } catch { return "\(error)" }
    }
    #expect(try complaint() == "(no error)")
    #expect(try complaint(drop: true).hasPrefix("tensor '\(name)' is implied"))
    let key = "dejavu.format." + name
    for (format, expected) in [
      ("int4-r64", "'\(name)' is [8, 384] in the file"), ("int8-r32", "does not hold scales for"),
      ("int4-r0", "which this program does not know"), ("int4-r032", "does not know"),
      ("int4-g32", "does not hold scales for"),
    ] {
      let text = try complaint { $0[key] = format }
      #expect(text.contains(expected), "\(format): \(text)")
    }
    #expect(
      try complaint { $0["dejavu.packed_version"] = "2" }.contains("has scales of its own"))
    let bundle = "dejavu.format.layers.1.mlp.bundle"
    #expect(try complaint { $0[bundle] = "int4-r32" } != "(no error)")
    #expect(try complaint { $0[bundle] = nil } != "(no error)")
  }

  /// Writes a safetensors file again, a tensor or text pairs apart.
  private func rewrite(
    _ path: String, without dropped: String?, _ change: (inout [String: String]) -> Void
  ) throws {
    let file = try SafetensorsFile(path: path)
    let kept = file.entries.filter { $0.name != dropped }
    var metadata = file.metadata
    change(&metadata)
    let writer = try SafetensorsWriter(
      path: path + ".new",
      tensors: try kept.map {
        SafetensorsDeclaration(
          name: $0.name, type: try #require(StoredType(rawValue: $0.storedType)), shape: $0.shape)
      }, metadata: metadata)
    for entry in kept { try writer.append(entry.withBytes { Array($0) }, to: entry.name) }
    try writer.finish()
    try FileManager.default.removeItem(atPath: path)
    try FileManager.default.moveItem(atPath: path + ".new", toPath: path)
  }
}

extension PackedLayer {
  /// The matrix of a role that has one.
  fileprivate func matrix(_ role: WeightRole.LayerRole) -> RowMatrix {
    switch role {
    case .query: query
    case .key: key
    case .value: value
    case .output: output
    case .gate: bundle.gate ?? bundle.up
    case .up: bundle.up
    case .down: bundle.down
    default: preconditionFailure("\(role) is no matrix")
    }
  }
}
