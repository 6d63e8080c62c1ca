import DejaVuCore
import DejaVuFormats
import Foundation
import Testing

/// Rows that `Scripts/dequantize.py` made and read with NumPy: the layout by another hand.
@Suite("groupwise rows against NumPy")
struct GroupwiseGoldenTests {
  private static let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fixtures/goldens/groupwise.safetensors")
    .path

  @Test("every stored byte means what NumPy says", arguments: GroupwiseFormat.all)
  func weights(format: GroupwiseFormat) throws {
    let file = try SafetensorsFile(path: Self.path)
    let stored = try #require(file.entries.first { $0.name == "stored.\(format.name)" })
    let weights = try #require(file.entries.first { $0.name == "weights.\(format.name)" })
    try #require(weights.dtype == .float32)
    let (rows, columns) = (weights.shape[0], weights.shape[1])
    #expect(stored.shape == [rows, format.rowBytes(columns)])
    for row in 0..<rows {
      let base = try #require(stored.bytes.baseAddress) + row * format.rowBytes(columns)
      for column in 0..<columns {
        let expected = weights.bytes.loadUnaligned(
          fromByteOffset: (row * columns + column) * 4, as: Float.self)
        #expect(format.value(column, of: base, columns: columns) == expected)
      }
    }
  }

  @Test("a format is found by its name, and nothing else is one")
  func names() {
    for format in GroupwiseFormat.all {
      #expect(GroupwiseFormat(name: format.name) == format)
    }
    for name in ["", "int4", "int5-g64", "int4-g64-", "INT4-g64", "int4-g064", "int4-g64-zeros "] {
      #expect(GroupwiseFormat(name: name) == nil)
    }
  }
}
