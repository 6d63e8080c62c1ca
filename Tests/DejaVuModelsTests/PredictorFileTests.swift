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
    let format = GroupwiseMatrix.format(bits: bits)
    let (rowBytes, codeBytes) = (format.rowBytes(columns), format.codeBytes(columns))
    let memory = OwnedMemory(byteCount: rows * rowBytes)
    for row in 0..<rows {
      for i in 0..<codeBytes {
        memory.base.storeBytes(
          of: UInt8(truncatingIfNeeded: random.next()), toByteOffset: row * rowBytes + i,
          as: UInt8.self)
      }
      for group in 0..<format.groups(columns) {
        memory.base.storeBytes(
          of: 0x3C00, toByteOffset: row * rowBytes + codeBytes + 2 * group, as: UInt16.self)
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

  @Test func `a file of version 1 holds the same numbers, and is written as version 2`() throws {
    defer { try? FileManager.default.removeItem(atPath: path) }
    let predictors = predictors()
    try writeEarlier(predictors)
    let file = try open()
    #expect(file.entries == predictors.map(\.entry) && file.plans == "{\"a\": 1}")
    func expectSame(_ file: PredictorFile) throws {
      for predictor in predictors {
        let loaded = try #require(file.predictors[predictor.entry.site])
        #expect(numbers(loaded.first) == numbers(predictor.weights.first))
        #expect(numbers(loaded.second) == numbers(predictor.weights.second))
      }
    }
    try expectSame(file)
    _ = try file.replacingPlans("{}", architecture: architecture)
    let header = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
    #expect(header.contains("\"dejavu.predictors_version\":\"2\""))
    try expectSame(try open())
  }

  @Test func `a scale of version 1 that is no number is refused`() throws {
    defer { try? FileManager.default.removeItem(atPath: path) }
    try writeEarlier(predictors(), scale: 0x7C00)
    let error = #expect(throws: PredictorError.self) { try open() }
    #expect(error?.description.contains("is not finite") == true)
  }

  /// Codes and scales of every row.
  private func numbers(_ matrix: GroupwiseMatrix?) -> [GroupwiseRow] {
    guard let matrix else { return [] }
    return (0..<matrix.rows).map {
      matrix.format.unpack(matrix.base + $0 * matrix.rowBytes, columns: matrix.columns)
    }
  }

  /// A row as version 1 had it: groups of 64 in turn, byte j of one with its columns j, j + n and on.
  private func earlier(_ row: GroupwiseRow, bits: Int) -> [UInt8] {
    let bytes = 8 * bits
    var out = [UInt8](repeating: 0, count: row.codes.count * bits / 8)
    for (column, code) in row.codes.enumerated() {
      let (group, lane) = (column / 64, column % 64)
      out[group * bytes + lane % bytes] |= code << UInt8(lane / bytes * bits)
    }
    return out + row.scales.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
  }

  /// Writes predictors as version 1 did; `scale` replaces the last one.
  private func writeEarlier(_ predictors: [PredictorFile.Predictor], scale: UInt16? = nil) throws {
    var floats: [SafetensorsDeclaration] = []
    var bytes: [(name: String, rows: [[UInt8]])] = []
    for predictor in predictors {
      let (site, weights) = (predictor.entry.site, predictor.weights)
      let name = "\(site.axis.rawValue).\(site.layer)"
      if weights.bias != nil {
        floats.append(
          SafetensorsDeclaration(name: name + ".bias", type: .float32, shape: [weights.rows]))
      }
      for (suffix, matrix) in [(".a", weights.first), (".b", weights.second)] {
        var rows = numbers(matrix)
        if let scale { rows[rows.count - 1].scales[0] = scale }
        bytes.append((name + suffix, rows.map { earlier($0, bits: predictor.entry.bits) }))
      }
    }
    let writer = try SafetensorsWriter(
      path: path,
      tensors: floats
        + bytes.map {
          SafetensorsDeclaration(
            name: $0.name, type: .uint8, shape: [$0.rows.count, $0.rows[0].count])
        },
      metadata: [
        "dejavu.predictors_version": "1", "dejavu.fingerprint": fingerprint,
        "dejavu.plans": "{\"a\": 1}",
        "dejavu.entries": "[" + predictors.map { EntryText.text($0.entry) }.joined(separator: ",")
          + "]",
      ])
    for tensor in floats {
      try writer.append([Float](repeating: 0.5, count: tensor.shape[0]), to: tensor.name)
    }
    for tensor in bytes { try writer.append(tensor.rows.flatMap { $0 }, to: tensor.name) }
    try writer.finish()
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
    ("dejavu.predictors_version\":\"2\"", "dejavu.predictors_version\":\"3\""),
    // Rows of version 1 have no padding.
    ("dejavu.predictors_version\":\"2\"", "dejavu.predictors_version\":\"1\""),
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
