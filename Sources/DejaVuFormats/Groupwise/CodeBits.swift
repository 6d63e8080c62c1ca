/// Codes of a row as files hold them: one behind the other, lowest bits first.
///
/// Code i takes bits `i · bits ..< (i + 1) · bits` of the row, bit b being bit b % 8 of byte b / 8;
/// every row starts at a byte.
package enum CodeBits {
  /// - Parameters:
  ///   - codes: `[count]`, each below 2^bits.
  ///   - out: `[⌈count · bits / 8⌉]`.
  package static func pack(
    _ codes: UnsafePointer<UInt8>, count: Int, bits: Int, into out: UnsafeMutablePointer<UInt8>
  ) {
    var (held, width, at) = (UInt32(0), 0, 0)
    for i in 0..<count {
      held |= UInt32(codes[i]) << UInt32(width)
      width += bits
      while width >= 8 {
        out[at] = UInt8(truncatingIfNeeded: held)
        held >>= 8
        width -= 8
        at += 1
      }
    }
    if width > 0 { out[at] = UInt8(truncatingIfNeeded: held) }
  }

  /// The inverse of `pack`.
  package static func unpack(
    _ bytes: UnsafePointer<UInt8>, count: Int, bits: Int, into out: UnsafeMutablePointer<UInt8>
  ) {
    let mask = UInt32(1) << UInt32(bits) - 1
    var (held, width, at) = (UInt32(0), 0, 0)
    for i in 0..<count {
      while width < bits {
        held |= UInt32(bytes[at]) << UInt32(width)
        width += 8
        at += 1
      }
      out[i] = UInt8(truncatingIfNeeded: held & mask)
      held >>= UInt32(bits)
      width -= bits
    }
  }
}
