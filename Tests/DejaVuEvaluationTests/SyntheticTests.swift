import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuModels
import Foundation
import Testing

extension ModelShape {
  /// Widths that are no multiples of the padding, as no published shape has.
  static let small = ModelShape(
    name: "small", layers: 2, hidden: 72, heads: 4, vocabulary: 301, context: 64)
  static let smallPostNorm = ModelShape(
    name: "small-post-norm", layers: 2, hidden: 72, heads: 4, embedding: 40, vocabulary: 301,
    context: 64)
}

struct SyntheticTests {
  private let team: ThreadTeam

  init() throws { team = try ThreadTeam(threads: 2) }

  private func made(
    _ shape: ModelShape = .small, dtype: DType = .float16, seed: UInt64 = 1, density: Double = 0.5
  ) throws -> SyntheticModel {
    try SyntheticModel(
      shape: shape, options: options(dtype: dtype, seed: seed, density: density), team: team)
  }

  private func options(
    dtype: DType = .float16, seed: UInt64 = 1, density: Double = 0.5
  ) -> SyntheticModel.Options {
    var options = SyntheticModel.Options()
    (options.dtype, options.seed, options.reluDensity) = (dtype, seed, density)
    return options
  }

  private func bytes(_ model: SyntheticModel) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: model.memory.base, count: model.layout.byteCount))
  }

  private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(folder.path)
  }

  @Test func `the same seed gives the same weights, another seed others`() throws {
    let first = bytes(try made())
    #expect(first == bytes(try made()))
    let other = bytes(try made(seed: 2))
    let equal = zip(first, other).count { $0 == $1 }
    // Norms, the up bias and padding are constants.
    #expect(Double(equal) / Double(first.count) < 0.5)
  }

  @Test(arguments: [8, 6, 4])
  func `the head of a shape in codes has bits of its own`(bits: Int) throws {
    var options = options()
    options.groupwise = GroupwiseFormat(bits: 4, group: 64)
    options.headBits = bits
    let model = try SyntheticModel(shape: .small, options: options, team: team).model
    #expect(model.head.format.name == "int\(bits)-g64")
    #expect(model.layers[0].query.format.name == "int4-g64")
    #expect(options.formatName == (bits == 8 ? "int4-g64" : "int4-g64, head of \(bits) bits"))
  }

  @Test(arguments: [DType.float16, .bfloat16, .float32], [ModelShape.small, .smallPostNorm])
  func `a written checkpoint packs to the bytes that are made in memory`(
    dtype: DType, shape: ModelShape
  ) throws {
    let model = try made(shape, dtype: dtype, seed: 7)
    // So small a file that there are several of them.
    let checkpoint = SyntheticCheckpoint(
      shape: shape, options: options(dtype: dtype, seed: 7), shardBytes: 100_000)
    #expect(checkpoint.fileCount > 2)
    try withFolder { folder in
      var last = 0
      try checkpoint.write(to: folder, team: team) { last = $0.bytesDone }
      #expect(last == checkpoint.byteCount)
      let loaded = try ModelFolder.load(folder, team: team)
      #expect(loaded.isSynthetic)
      #expect(loaded.warnings.isEmpty)
      #expect(loaded.model.architecture == shape.architecture)
      #expect(loaded.generation.eosTokens == [2])
      let layout = try #require(loaded.layout)
      #expect(layout.entries == model.layout.entries)
      let packed = UnsafeRawBufferPointer(
        start: loaded.model.tokenEmbedding.base, count: layout.byteCount)
      let expected = bytes(model)
      let wrong = layout.entries.filter {
        !packed[$0.offset..<$0.offset + $0.byteCount].elementsEqual(
          expected[$0.offset..<$0.offset + $0.byteCount])
      }
      #expect(wrong.map(\.name) == [])
    }
  }

  @Test func `a checkpoint runs without a tokenizer`() throws {
    let checkpoint = SyntheticCheckpoint(
      shape: .small, options: options(), shardBytes: 1 << 30)
    #expect(checkpoint.fileCount == 1)
    try withFolder { folder in
      try checkpoint.write(to: folder, team: team) { _ in }
      let loaded = try ModelFolder.load(folder, team: team)
      let engine = try Engine(model: loaded.model, backend: .cpu(CPUOptions(threads: 1)))
      let session = try engine.makeSession(capacity: 2)
      #expect(try session.decode(3).count == 301)
    }
  }

  @Test(arguments: [0.05, 0.3, 0.5, 0.9])
  func `about as many neurons fire as was asked for`(density: Double) throws {
    let shape = ModelShape(
      name: "medium", layers: 4, hidden: 256, heads: 4, vocabulary: 512, context: 64)
    let model = try made(shape, dtype: .float32, density: density)
    let engine = try Engine(model: model.model, backend: .cpu(CPUOptions(threads: 2)))
    let session = try engine.makeSession(capacity: 64, mode: .exact)
    for token in 0..<64 { _ = try session.decode(TokenID(token * 7)) }
    // In this mode every up row is read, and the down rows of neurons that fire.
    let rows = session.tally.mlpWeights / model.model.layers[0].bundle.matrix.rowBytes
    let all = 64 * shape.layers * shape.architecture.neurons
    #expect(abs(Double(rows - all) / Double(all) - density) < 0.03)
  }

  @Test func `every published shape is planned to the size of its architecture`() {
    for shape in ModelShape.all {
      let checkpoint = SyntheticCheckpoint(
        shape: shape, options: options(), shardBytes: 5_000_000_000)
      let layout = PackedLayout(
        architecture: shape.architecture,
        types: .init(uniform: .float16, layers: shape.layers))
      // Vectors are packed in float32.
      let vectors = layout.entries.filter { $0.shape.count == 1 }.reduce(0) { $0 + $1.byteCount }
      #expect(checkpoint.byteCount == layout.byteCount - vectors / 2)
    }
  }
}
