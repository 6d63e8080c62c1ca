package import DejaVuCore

/// Rows of one stored type with their exact values beside them, for tests of kernels.
///
/// Rows end in zeros up to the padded width and in NaN up to the stride, so that a kernel which
/// reads too far shows it.
package final class StoredMatrix: @unchecked Sendable {
  // Safe to share: nothing writes after `init`.
  package let dtype: DType
  package let stride: Int
  /// `[rows][columns]`, what is stored.
  package let values: [[Double]]
  private let memory: OwnedMemory

  package init(
    _ dtype: DType, rows: Int, columns: Int, padding: Int = 32, gap: Int = 0, scale: Float = 1,
    random: inout SeededRandom
  ) {
    let padded = (columns + padding - 1) / padding * padding
    stride = (padded + gap) * dtype.size
    memory = OwnedMemory(byteCount: rows * stride)
    self.dtype = dtype
    var values: [[Double]] = []
    for row in 0..<rows {
      let base = memory.base + row * stride
      let stored = random.units(columns).map { dtype.rounded($0 * scale) }
      for (column, value) in stored.enumerated() {
        dtype.store(value, to: base, index: column)
      }
      for column in padded..<padded + gap { dtype.store(.nan, to: base, index: column) }
      values.append(stored.map { Double($0) })
    }
    self.values = values
  }

  package var base: UnsafeRawPointer { UnsafeRawPointer(memory.base) }
}
