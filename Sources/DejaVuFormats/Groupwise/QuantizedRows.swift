import DejaVuCore

/// A matrix as codes, unpacked: one byte per weight, with the scales and zeros of its groups.
///
/// Rows are the engine's: one per neuron or lane of a head, also where a checkpoint stores the
/// transposed matrix. What files hold and kernels read is made from this.
package struct QuantizedRows: Hashable, Sendable {
  package let format: GroupFormat
  package let rows: Int
  package let columns: Int
  /// `[rows, columns]`, each at most `format.greatestCode`.
  package let codes: [UInt8]
  /// `[rows, groups]`, float16 patterns.
  package let scales: [UInt16]
  /// `[rows, groups]`, float16 patterns of integers or half-integers; empty where symmetric.
  package let zeros: [UInt16]

  /// - Precondition: the counts are those of the format, and no code is too great.
  package init(
    format: GroupFormat, rows: Int, columns: Int, codes: [UInt8], scales: [UInt16],
    zeros: [UInt16]
  ) {
    let groups = rows * format.groups(columns: columns)
    precondition(
      codes.count == rows * columns && scales.count == groups
        && zeros.count == (format.isSymmetric ? 0 : groups),
      "\(codes.count) codes, \(scales.count) scales and \(zeros.count) zeros for "
        + "[\(rows), \(columns)] in groups of \(format.group)")
    self.format = format
    self.rows = rows
    self.columns = columns
    self.codes = codes
    self.scales = scales
    self.zeros = zeros
  }

  /// Writes the weights that a row stands for.
  ///
  /// - Parameters:
  ///   - row: in `0..<rows`.
  ///   - out: `[columns]`.
  package func dequantize(row: Int, into out: UnsafeMutablePointer<Float>) {
    let groups = format.groups(columns: columns)
    for group in 0..<groups {
      let scale = HalfPrecision.float(half: scales[row * groups + group])
      let zero =
        format.isSymmetric
        ? format.middle : HalfPrecision.float(half: zeros[row * groups + group])
      for column in group * format.group..<min((group + 1) * format.group, columns) {
        out[column] = (Float(codes[row * columns + column]) - zero) * scale
      }
    }
  }

  /// The weights that a row stands for, `[columns]`.
  package func row(_ row: Int) -> [Float] {
    [Float](unsafeUninitializedCapacity: columns) { buffer, count in
      if let base = buffer.baseAddress { dequantize(row: row, into: base) }
      count = columns
    }
  }
}
