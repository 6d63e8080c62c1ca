/// A row's contribution relative to its layer's threshold, in one byte.
///
/// Codes count eighths of octaves: 128 is the threshold, 0 is nothing at all. That a row is
/// positive is exact; its mass is known to within a sixteenth.
package enum ContributionCode {
  /// The code of the threshold itself.
  package static let threshold: UInt8 = 128

  /// The code of a contribution of `ratio` thresholds; ratio ≥ 1 exactly where code ≥ 128.
  @inline(__always)
  package static func code(_ ratio: Float) -> UInt8 {
    // Without a branch, so that loops over rows become vector instructions.
    let steps = Int32(bitPattern: ratio.bitPattern >> 20) &- (0x3F8 - 128)
    let code = UInt8(truncatingIfNeeded: min(max(steps, 1), 255))
    return ratio > 0 ? code : 0
  }

  /// Contributions in thresholds, by code: the middle of what the code stands for.
  package static let mass: [Float] = (0..<256).map { code in
    guard code > 0 else { return 0 }
    let low = Float(bitPattern: UInt32(code - 128 + 0x3F8) << 20)
    let high = Float(bitPattern: UInt32(code - 127 + 0x3F8) << 20)
    return (low + high) / 2
  }
}

/// Counts contributions by size, to find the one that leaves a given share of their mass.
package struct MassHistogram: Sendable {
  // Buckets of 1/128 octave, by the upper bits of a float.
  private static let shift: UInt32 = 16
  private var mass: [Double]
  private var isBroken = false

  package init() { mass = Array(repeating: 0, count: 1 << (31 - Int(Self.shift))) }

  /// Counts contributions, none of which may be negative.
  package mutating func add(_ values: UnsafeBufferPointer<Float>) {
    mass.withUnsafeMutableBufferPointer { mass in
      for value in values {
        if value > 0 {
          mass[Int(value.bitPattern >> Self.shift)] += Double(value)
        } else if value != 0 {
          isBroken = true
        }
      }
    }
  }

  /// Counts what another one has counted.
  mutating func add(_ other: MassHistogram) {
    for bucket in mass.indices { mass[bucket] += other.mass[bucket] }
    isBroken = isBroken || other.isBroken
  }

  /// The greatest threshold at or above which values carry at least `share` of the mass.
  ///
  /// - Parameter share: from 0 to 1.
  /// - Returns: nil where values were no numbers; 1 where none was above zero.
  package func threshold(_ share: Double) -> Float? {
    let total = mass.reduce(0, +)
    guard !isBroken, total.isFinite else { return nil }
    var sum = 0.0
    for bucket in mass.indices.reversed() where mass[bucket] > 0 {
      sum += mass[bucket]
      if sum >= share * total { return Float(bitPattern: UInt32(bucket) << Self.shift) }
    }
    return 1
  }
}
