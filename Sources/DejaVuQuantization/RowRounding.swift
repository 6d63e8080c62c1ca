package import DejaVuCPU
package import DejaVuCore

/// Rounds rows one by one, each weight for itself: what every method but GPTQ does.
package struct RowRounding: Sendable {
  package let fit: GroupFit

  package init(_ fit: GroupFit) { self.fit = fit }

  /// Rounds one row.
  ///
  /// - Parameters:
  ///   - values: `[columns]` finite weights.
  ///   - importance: `[columns]`, what each squared error counts; nil for 1.
  ///   - columns: of the row.
  /// - Returns: `[columns]` codes, with the scales and zeros of ⌈columns / group⌉ groups.
  package func round(
    _ values: UnsafePointer<Float>, importance: [Float]?, columns: Int
  ) -> GroupwiseRow {
    let format = fit.format
    var row = GroupwiseRow(codes: [], scales: [], zeros: format.hasZeros ? [] : nil)
    row.codes.reserveCapacity(columns)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * format.group) { scratch in
      guard let padded = scratch.baseAddress else { return }
      let weights = padded + format.group
      for start in stride(from: 0, to: columns, by: format.group) {
        let count = min(format.group, columns - start)
        for i in 0..<format.group {
          padded[i] = i < count ? values[start + i] : 0
          weights[i] = i < count ? importance?[start + i] ?? 1 : 0
        }
        let scale = fit.fit(padded, importance: weights)
        let coder = GroupCoder(scale, greatest: format.greatestCode)
        for i in 0..<count { row.codes.append(UInt8(coder.code(padded[i]))) }
        row.scales.append(HalfPrecision.half(scale.scale))
        row.zeros?.append(scale.zero)
      }
    }
    return row
  }

  /// Rounds a matrix, rows shared among the threads.
  ///
  /// - Parameters:
  ///   - weights: `[rows, columns]`, finite.
  ///   - rows: of the matrix.
  ///   - columns: of the matrix.
  ///   - importance: `[columns]`, as for one row.
  ///   - arithmetic: the threads.
  /// - Returns: the matrix's rows in their order.
  package func rows(
    _ weights: CPUBuffer, rows: Int, columns: Int, importance: [Float]?,
    arithmetic: DenseArithmetic
  ) -> [GroupwiseRow] {
    [GroupwiseRow](unsafeUninitializedCapacity: rows) { buffer, count in
      guard let base = buffer.baseAddress else { return }
      nonisolated(unsafe) let (source, target) = (weights, base)
      arithmetic.run(chunks: rows) { row in
        (target + row).initialize(
          to: round(source.row(row), importance: importance, columns: columns))
      }
      count = rows
    }
  }
}

extension GroupwiseFormat {
  /// Groups of a row without its padding.
  package func groupCount(_ columns: Int) -> Int { (columns + group - 1) / group }

  /// Writes the weights that a row stands for, one per code.
  package func dequantize(_ row: GroupwiseRow, into out: UnsafeMutablePointer<Float>) {
    for start in stride(from: 0, to: row.codes.count, by: group) {
      let scale = HalfPrecision.float(half: row.scales[start / group])
      let zero = row.zeros?[start / group] ?? middle
      for column in start..<min(start + group, row.codes.count) {
        out[column] = (Float(row.codes[column]) - zero) * scale
      }
    }
  }
}
