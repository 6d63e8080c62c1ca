import DejaVuCore
import DejaVuFormats
import DejaVuModels
import DejaVuTestSupport
import Foundation
import Testing

struct PredictorFileTests {
  private let architecture = TinyModel.opt.architecture
  private let fingerprint = String(repeating: "5", count: 64)
  private let path = NSTemporaryDirectory() + "dejavu-\(UUID().uuidString).safetensors"

  /// Rows of random codes and scales of 1.
  private func matrix(
    rows: Int, columns: Int, bits: Int, _ random: inout SeededRandom
  ) -> GroupwiseMatrix {
    let rowBytes = GroupwiseMatrix.rowBytes(columns: columns, bits: bits)
    let memory = OwnedMemory(byteCount: rows * rowBytes)
    for row in 0..<rows {
      for i in 0..<columns * bits / 8 {
        memory.base.storeBytes(
          of: UInt8(truncatingIfNeeded: random.next()), toByteOffset: row * rowBytes + i,
          as: UInt8.self)
      }
      for group in 0..<columns / 64 {
        memory.base.storeBytes(
          of: 0x3C00, toByteOffset: row * rowBytes + columns * bits / 8 + 2 * group, as: UInt16.self
        )
      }
    }
    return GroupwiseMatrix(
      base: memory.base, bits: bits, rows: rows, columns: columns, owner: memory)
  }

  private func predictors() -> [PredictorFile.Predictor] {
    var random = SeededRandom(seed: 8)
    let bias = OwnedMemory(byteCount: 4 * architecture.neurons)
    for i in 0..<architecture.neurons {
      bias.base.storeBytes(of: random.unit(), toByteOffset: 4 * i, as: Float.self)
    }
    biasOwner.value = bias
    return [
      (RowAxis.neurons, 0, Placement.blockAhead, 8, true),
      (.neurons, 2, .layerAhead, 4, false), (.heads, 1, .same, 8, false),
    ].map { axis, layer, placement, bits, hasBias in
      var figures = PredictorFigures()
      (figures.tokens, figures.k98, figures.recall) = (1234, 3, 0.75)
      (figures.coveredMass, figures.score98) = (0.1 + 0.2, -1.5e-7)
      let entry = PredictorEntry(
        site: PredictorSite(axis: axis, layer: layer, placement: placement), rank: 64, bits: bits,
        hasBias: hasBias, criterion: "contribution", threshold: 0.125, figures: figures)
      let rows = axis.rows(architecture)
      let vector = FloatVector(base: bias.base.assumingMemoryBound(to: Float.self), count: rows)
      return PredictorFile.Predictor(
        entry: entry,
        weights: ChooserWeights(
          first: matrix(
            rows: 64, columns: PredictorEntry.columns(architecture), bits: bits, &random),
          second: matrix(rows: rows, columns: 64, bits: bits, &random), norm: .plain,
          bias: hasBias ? vector : nil))
    }
  }

  /// Keeps the bias alive as long as the test.
  private final class Owner { var value: OwnedMemory? }
  private let biasOwner = Owner()

  private func open() throws(PredictorError) -> PredictorFile {
    try PredictorFile.open(path: path, fingerprint: fingerprint, architecture: architecture)
  }

  private func bytes(_ matrix: GroupwiseMatrix?) -> [UInt8] {
    matrix.map { Array(UnsafeRawBufferPointer(start: $0.base, count: $0.byteCount)) } ?? []
  }

  @Test func `what is saved is what is loaded`() throws {
    defer { try? FileManager.default.removeItem(atPath: path) }
    let predictors = predictors()
    try PredictorFile.write(predictors, to: path, fingerprint: fingerprint, plans: "{\"a\": 1}")
    let file = try open()
    #expect(file.entries == predictors.map(\.entry))
    #expect(file.plans == "{\"a\": 1}" && file.fingerprint == fingerprint)
    for predictor in predictors {
      let loaded = try #require(file.predictors[predictor.entry.site])
      #expect(bytes(loaded.first) == bytes(predictor.weights.first))
      #expect(bytes(loaded.second) == bytes(predictor.weights.second))
      #expect((loaded.bias == nil) == !predictor.entry.hasBias)
      if let bias = loaded.bias, let saved = predictor.weights.bias {
        #expect((0..<bias.count).allSatisfy { bias.base[$0] == saved.base[$0] })
      }
    }
  }

  @Test func `other plans leave the predictors as they are`() throws {
    defer { try? FileManager.default.removeItem(atPath: path) }
    let predictors = predictors()
    try PredictorFile.write(predictors, to: path, fingerprint: fingerprint)
    let old = try open()
    let plans = "{\"half \\\"quoted\\\"\": {\"density\": 0.5, \"list\": [1, 2]}}"
    let new = try old.replacingPlans(plans, architecture: architecture)
    #expect(new.plans == plans && old.plans == "{}" && new.entries == old.entries)
    for (site, weights) in old.predictors {
      #expect(bytes(new.predictors[site]?.second) == bytes(weights.second))
    }
    #expect(throws: PredictorError.self) {
      try new.replacingPlans("[1]", architecture: architecture)
    }
    #expect(try open().plans == plans)
  }

  @Test func `a missing file and one of another model say what to do`() throws {
    defer { try? FileManager.default.removeItem(atPath: path) }
    let missing = #expect(throws: PredictorError.self) { try open() }
    #expect(missing?.description.contains("dejavu train") == true)
    let other = String(repeating: "7", count: 64)
    try PredictorFile.write(predictors(), to: path, fingerprint: other)
    let foreign = #expect(throws: PredictorError.self) { try open() }
    #expect(foreign == .foreign(path: path, expected: fingerprint, found: other))
    #expect(foreign?.description.contains(other) == true)
    #expect(foreign?.description.contains(fingerprint) == true)
  }

  @Test func `predictors of another shape of model are refused`() throws {
    defer { try? FileManager.default.removeItem(atPath: path) }
    try PredictorFile.write(predictors(), to: path, fingerprint: fingerprint)
    var wider = architecture
    wider.neurons += 1
    #expect(throws: PredictorError.self) {
      try PredictorFile.open(path: path, fingerprint: fingerprint, architecture: wider)
    }
    var shallower = architecture
    shallower.layers = 2
    #expect(throws: PredictorError.self) {
      try PredictorFile.open(path: path, fingerprint: fingerprint, architecture: shallower)
    }
  }

  /// What is changed in a good file's header; lengths stay, so that the data stays in place.
  static let damages: [(String, String)] = [
    ("dejavu.predictors_version\":\"1\"", "dejavu.predictors_version\":\"2\""),
    ("dejavu.predictors_version", "dejavu.predictors_versiom"),
    ("dejavu.fingerprint", "dejavu.fingerprimt"), ("dejavu.entries", "dejavu.entriez"),
    ("\\\"layer\\\":2", "\\\"layer\\\":3"), ("\\\"layer\\\":2", "\\\"layer\\\":0"),
    ("\\\"layer\\\":2", "\\\"layer\\\":x"), ("\\\"rank\\\":64", "\\\"rank\\\":65"),
    ("\\\"rank\\\":64", "\\\"rank\\\":-1"), ("\\\"rank\\\":64", "\\\"rank\\\": 0"),
    ("\\\"bits\\\":8", "\\\"bits\\\":3"), ("\\\"bits\\\":8", "\\\"bits\\\":4"),
    ("\\\"bias\\\":true", "\\\"bias\\\":null"),
    ("\\\"axis\\\":\\\"heads", "\\\"axis\\\":\\\"hands"),
    ("low-rank", "high-rnk"), ("\\\"norm\\\":\\\"plain", "\\\"norm\\\":\\\"plane"),
    ("layer-ahead", "layer-aheap"), ("\\\"same\\\"", "\\\"sane\\\""),
    ("\\\"recall\\\":0.75", "\\\"recall\\\":true"), ("\\\"k98\\\":3", "\\\"k98\\\":."),
    ("\\\"tokens\\\":1234", "\\\"tokens\\\":1.34"), ("\\\"layer\\\":2", "\\\"layor\\\":2"),
    ("dejavu.plans\":\"{}\"", "dejavu.plans\":\"[]\""), ("neurons.0.a", "neurons.9.a"),
    ("neurons.0.bias", "neurons.0.biaz"), ("\"F32\"", "\"I32\""), ("\"U8\"", "\"I8\""),
  ]

  @Test(arguments: damages)
  func `a damaged header is refused`(good: String, bad: String) throws {
    defer { try? FileManager.default.removeItem(atPath: path) }
    try PredictorFile.write(predictors(), to: path, fingerprint: fingerprint)
    let url = URL(fileURLWithPath: path)
    var data = try Data(contentsOf: url)
    let range = try #require(data.range(of: Data(good.utf8)), "\(good)")
    data.replaceSubrange(range, with: Data(bad.utf8))
    try data.write(to: url)
    let error = #expect(throws: PredictorError.self) { try open() }
    #expect(
      error?.description.hasSuffix("again") == true || error?.description.contains("train") == true)
  }

  @Test func `a scale or a bias that is no number is refused, and so is a file cut short`() throws {
    defer { try? FileManager.default.removeItem(atPath: path) }
    try PredictorFile.write(predictors(), to: path, fingerprint: fingerprint)
    let url = URL(fileURLWithPath: path)
    let good = try Data(contentsOf: url)
    let start = 8 + Int(good.prefix(8).enumerated().reduce(0) { $0 + Int($1.1) << (8 * $1.0) })
    var bias = good
    bias.replaceSubrange(start + 2..<start + 4, with: [0xC0, 0x7F])
    let rowBytes = GroupwiseMatrix.rowBytes(
      columns: PredictorEntry.columns(architecture), bits: 8)
    var scale = good
    let end = start + 4 * architecture.neurons + rowBytes
    scale.replaceSubrange(end - 1..<end, with: [0x7C])
    for damaged in [bias, scale, good.dropLast(), good.prefix(start), good.prefix(7)] {
      try damaged.write(to: url)
      #expect(throws: PredictorError.self) { try open() }
    }
    try good.write(to: url)
    _ = try open()
  }
}
