import DejaVuCore

/// Rounds rows one by one, each weight for itself: what every method but GPTQ does.
package struct RowRounding: Sendable {
  package let fit: GroupFit

  package init(_ fit: GroupFit) { self.fit = fit }

  /// Where one row's codes, scales and zeros go.
  package struct Target {
    package let codes: UnsafeMutablePointer<UInt8>
    package let scales: UnsafeMutablePointer<UInt16>
    package let zeros: UnsafeMutablePointer<UInt16>?

    package init(
      codes: UnsafeMutablePointer<UInt8>, scales: UnsafeMutablePointer<UInt16>,
      zeros: UnsafeMutablePointer<UInt16>?
    ) {
      self.codes = codes
      self.scales = scales
      self.zeros = zeros
    }
  }

  /// - Parameters:
  ///   - values: `[columns]` finite weights.
  ///   - importance: `[columns]`, what each squared error counts; nil for 1.
  ///   - columns: of the row.
  ///   - target: `[columns]` codes, `[groups]` scales and, unless symmetric, zeros.
  package func round(
    _ values: UnsafePointer<Float>, importance: UnsafePointer<Float>?, columns: Int,
    into target: Target
  ) {
    let format = fit.format
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * format.group) { scratch in
      guard let padded = scratch.baseAddress else { return }
      let weights = padded + format.group
      for group in 0..<format.groups(columns: columns) {
        let start = group * format.group
        let count = min(format.group, columns - start)
        for i in 0..<format.group {
          padded[i] = i < count ? values[start + i] : 0
          weights[i] = i < count ? importance?[start + i] ?? 1 : 0
        }
        let scale = fit.fit(padded, importance: weights)
        let coder = GroupCoder(scale, greatest: format.greatestCode)
        for i in 0..<count { target.codes[start + i] = UInt8(coder.code(padded[i])) }
        target.scales[group] = HalfPrecision.half(scale.scale)
        target.zeros?[group] = HalfPrecision.half(scale.zero)
      }
    }
  }
}
