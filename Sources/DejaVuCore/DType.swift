/// The element types that weights and caches are stored in.
public enum DType: String, CaseIterable, Hashable, Sendable {
  case float32
  case float16
  case bfloat16

  /// Size of one element in bytes.
  public var size: Int { self == .float32 ? 4 : 2 }
}

/// Conversions between 16-bit floating-point patterns and `Float`, without hardware support.
package enum HalfPrecision {
  /// The value of an IEEE 754 binary16 pattern; exact.
  package static func float(half bits: UInt16) -> Float {
    let sign = UInt32(bits & 0x8000) << 16
    let exponent = UInt32(bits >> 10) & 0x1F
    let fraction = UInt32(bits & 0x3FF)
    if exponent == 0x1F { return Float(bitPattern: sign | 0x7F80_0000 | fraction << 13) }
    if exponent == 0 {
      let magnitude = Float(fraction) * 0x1p-24
      return sign == 0 ? magnitude : -magnitude
    }
    return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
  }

  /// The nearest binary16 pattern, ties to even; overflow becomes infinity.
  package static func half(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    let sign = UInt16(truncatingIfNeeded: bits >> 16) & 0x8000
    let magnitude = bits & 0x7FFF_FFFF
    if magnitude > 0x7F80_0000 { return sign | 0x7E00 }
    if magnitude >= 0x4780_0000 { return sign | 0x7C00 }
    if magnitude < 0x3880_0000 {
      // Subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low fraction bits.
      let shifted = Float(bitPattern: magnitude) + 0.5
      return sign | UInt16(truncatingIfNeeded: shifted.bitPattern - (0.5 as Float).bitPattern)
    }
    let rounded = magnitude + 0xFFF + (magnitude >> 13 & 1)
    return sign | UInt16(truncatingIfNeeded: (rounded - 0x3800_0000) >> 13)
  }

  /// The value of a bfloat16 pattern; exact.
  package static func float(brain bits: UInt16) -> Float {
    Float(bitPattern: UInt32(bits) << 16)
  }

  /// The nearest bfloat16 pattern, ties to even.
  package static func brain(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    if bits & 0x7FFF_FFFF > 0x7F80_0000 { return UInt16(bits >> 16) | 0x40 }
    return UInt16(truncatingIfNeeded: (UInt64(bits) + 0x7FFF + UInt64(bits >> 16 & 1)) >> 16)
  }
}
