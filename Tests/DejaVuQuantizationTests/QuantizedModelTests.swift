import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuQuantization
import DejaVuTestSupport
import Foundation
import Testing

/// Whole models in codes: written, mapped again, and held against what rounding says.
struct QuantizedModelTests {
  private let folder = QuantizedFolder()

  private static func options(
    _ method: QuantizationOptions.Method, blocks: String = "int4-g32-zeros",
    tables: String = "int8-g64"
  ) throws -> QuantizationOptions {
    let table = try #require(GroupwiseFormat(name: tables))
    return QuantizationOptions(
      method: method, blocks: try #require(GroupwiseFormat(name: blocks)), embedding: table,
      head: table)
  }

  @Test(arguments: QuantizedFolder.sources)
  func `a quantized model is mapped with the rows that rounding gives`(source: String) throws {
    let options = try Self.options(.rtn)
    let original = try folder.write(source, options: options, shardBytes: 20_000)
    let loaded = try folder.load()
    #expect(loaded.isMapped && loaded.fingerprint == original.fingerprint)
    #expect(loaded.metadata[QuantizedCopy.methodKey] == "rtn")
    #expect(loaded.byteCount < original.byteCount)
    for (layer, copy) in zip(original.model.layers, loaded.model.layers) {
      for (floats, codes) in [
        (layer.query, copy.query), (layer.value, copy.value), (layer.output, copy.output),
        (layer.bundle.up, copy.bundle.up), (layer.bundle.down, copy.bundle.down),
      ] {
        try expectRounded(floats, codes, options.blocks)
      }
      #expect(copy.bundle.rowsPerNeuron == layer.bundle.rowsPerNeuron)
    }
    try expectRounded(
      original.model.head, loaded.model.head, try #require(options.head))
  }

  private func expectRounded(
    _ floats: RowMatrix, _ codes: RowMatrix, _ format: GroupwiseFormat
  ) throws {
    #expect(codes.format == .groupwise(format))
    #expect(codes.rows == floats.rows && codes.columns == floats.columns)
    let rounding = RowRounding(GroupFit(format: format, method: .range))
    for row in [0, floats.rows / 2, floats.rows - 1] {
      let values = (0..<floats.columns).map { floats.element(row, $0) }
      let expected = rounding.round(values, importance: nil, columns: values.count)
      #expect(format.unpack(codes.base + row * codes.stride, columns: values.count) == expected)
    }
  }

  @Test(arguments: QuantizedFolder.sources)
  func `GPTQ quantizes every family, and the copy answers`(source: String) throws {
    try expectNear(source, options: try Self.options(.gptq, blocks: "int8-g32"))
  }

  @Test func `every way to find codes gives a copy that answers`() throws {
    var weighted = try Self.options(.search, blocks: "int8-g32-zeros")
    weighted.weighsInputs = true
    var ordered = try Self.options(.gptq, blocks: "int8-g64")
    ordered.ordersByStrength = true
    ordered.fit = .range
    for options in [weighted, ordered, try Self.options(.search, blocks: "int6-g32")] {
      try expectNear("tiny-opt", options: options)
    }
  }

  /// Codes of 8 or 6 bits move logits by little against their spread.
  private func expectNear(_ source: String, options: QuantizationOptions) throws {
    let original = try folder.write(source, options: options)
    let loaded = try folder.load()
    let logits = try [original.model, loaded.model].map { model in
      let session = try Engine(model: model, backend: .reference).makeSession(capacity: 8)
      var last: [Float] = []
      try session.run([3, 1, 4, 1, 5][...], wanted: .last) { last = Array($1) }
      return last
    }
    let spread = try #require(logits[0].map { abs($0) }.max())
    let differences = zip(logits[0], logits[1]).map { abs($0 - $1) }
    // A step of 6 bits is four steps of 8.
    let share: Float = options.blocks.bits == 8 ? 0.05 : 0.2
    let greatest = try #require(differences.max())
    #expect(greatest < share * spread, "\(options): \(greatest) of \(spread)")
    #expect(differences.contains { $0 > 0 })
  }

  @Test func `files stay under the size asked for`() throws {
    _ = try folder.write(
      "tiny-opt", options: try Self.options(.rtn), shardBytes: 20_000)
    let names = folder.weightFiles
    #expect(names.count > 2 && names.contains("packed.safetensors.index.json"))
    for name in names where name.hasSuffix(".safetensors") {
      let file = try SafetensorsFile(path: folder.path + "/" + name)
      let bytes = file.entries.reduce(0) { $0 + $1.range.count }
      #expect(bytes <= 20_000 || file.entries.count == 1)
    }
  }

  @Test(arguments: ["nan", "inf", "-inf", "1e30"])
  func `a weight that codes cannot hold is refused with its tensor named`(
    value: String
  ) throws {
    let original = try folder.source("tiny-opt")
    let up = original.model.layers[1].bundle.up
    let poisoned = UnsafeMutableRawPointer(mutating: up.base + 2 * up.stride)
    up.dtype.store(try #require(Float(value)), to: poisoned, index: 5)
    // Float16 checkpoints hold infinity where 1e30 was stored.
    #expect {
      _ = try folder.write(original, "tiny-opt", options: try Self.options(.rtn))
    } throws: { error in
      guard case .weightOutOfRange(let tensor, 2, _)? = error as? QuantizationError else {
        return false
      }
      return tensor == "model.decoder.layers.1.fc1.weight"
    }
    #expect(folder.weightFiles.isEmpty)
  }

  @Test func `damaged and foreign files are refused with their tensor named`() throws {
    _ = try folder.write("tiny-opt", options: try Self.options(.rtn))
    let key = "dejavu.format.layers.1.attention.value"
    let cases: [(from: String, to: String, names: String)] = [
      (
        "\"\(key)\":\"int4-g32-zeros\"", "\"\(key)\":\"int4-g32-zerox\"",
        "layers.1.attention.value"
      ),
      (
        "\"\(key)\":\"int4-g32-zeros\"", "\"\(key)\":\"int4-g64-zeros\"", "layers.1.attention.value"
      ),
      (
        "\"\(key)\":\"int4-g32-zeros\"",
        "\"dejavu.tormaf.layers.1.attention.value\":\"int4-g32-zeros\"",
        "layers.1.attention.value"
      ),
      ("layers.0.mlp.bundle", "layers.0.mlp.bandle", "layers.0.mlp.bundle"),
      ("\"dejavu.packed_version\":\"2\"", "\"dejavu.packed_version\":\"9\"", "version '9'"),
    ]
    for (from, to, name) in cases {
      try folder.replacing(from, by: to) {
        #expect {
          _ = try folder.load()
        } throws: { error in
          error is CheckpointError && "\(error)".contains(name)
        }
      }
    }
    let bytes = try Data(contentsOf: folder.file)
    for count in [8, bytes.count / 2, bytes.count - 1] {
      try bytes.prefix(count).write(to: folder.file)
      #expect(throws: CheckpointError.self) { try folder.load() }
    }
  }
}
