import DejaVuCPU
package import DejaVuCore

extension GroupwiseMatrix {
  /// Rows of random codes, every one as likely as another, with scales near `scale`.
  package static func random(
    rows: Int, columns: Int, bits: Int, scale: Float, _ random: inout SeededRandom
  ) -> GroupwiseMatrix {
    let (format, bytes) = (format(bits: bits), rowBytes(columns: columns, bits: bits))
    let storage = GroupwiseStorage(byteCount: rows * bytes)
    for row in 0..<rows {
      let (codes, scales) = (storage.base + row * bytes, format.codeBytes(columns))
      for at in 0..<scales {
        let byte = UInt8(truncatingIfNeeded: random.next())
        codes.storeBytes(of: byte, toByteOffset: at, as: UInt8.self)
      }
      for group in 0..<format.groups(columns) {
        let half = HalfPrecision.half(scale * (1 + 0.25 * random.unit()))
        codes.storeBytes(of: half, toByteOffset: scales + 2 * group, as: UInt16.self)
      }
    }
    return GroupwiseMatrix(
      base: storage.base, bits: bits, rows: rows, columns: columns, owner: storage)
  }
}

/// Floats behind a vector of the model's kind, for as long as this lives.
package final class OwnedVector: Sendable {
  private let memory: OwnedMemory
  package let vector: FloatVector

  package init(_ values: [Float]) {
    memory = OwnedMemory(byteCount: values.count * 4)
    let base = memory.base.bindMemory(to: Float.self, capacity: max(values.count, 1))
    base.update(from: values, count: values.count)
    vector = FloatVector(base: base, count: values.count)
  }
}
