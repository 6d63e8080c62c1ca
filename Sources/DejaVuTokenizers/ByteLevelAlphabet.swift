import DejaVuJSON

/// The 256 printable characters by which byte-level vocabularies spell bytes.
///
/// Printable Latin-1 characters stand for their own code; the other 68 bytes are numbered through
/// from U+0100, so that a space is spelled `Ġ`. The table is GPT-2's `bytes_to_unicode`.
enum ByteLevelAlphabet {
  /// The scalar of each byte; all are below U+0144.
  static let scalars: [UInt16] = {
    var free: UInt16 = 0x100
    return (0..<256).map { (byte: UInt16) -> UInt16 in
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return byte
      default:
        defer { free += 1 }
        return free
      }
    }
  }()

  /// The byte of each scalar below U+0144, where it has one.
  private static let bytes: [UInt8?] = {
    var table = [UInt8?](repeating: nil, count: 0x144)
    for (byte, scalar) in scalars.enumerated() { table[Int(scalar)] = UInt8(byte) }
    return table
  }()

  static func spelling(of bytes: some Sequence<UInt8>) -> ByteString {
    var text: [UInt8] = []
    for byte in bytes {
      let scalar = scalars[Int(byte)]
      if scalar < 0x80 {
        text.append(UInt8(scalar))
      } else {
        text.append(0xC0 | UInt8(scalar >> 6))
        text.append(0x80 | UInt8(scalar & 0x3F))
      }
    }
    return ByteString(text)
  }

  /// The bytes that `spelling` stands for; a spelling with any other character stands for itself.
  static func bytes(spelledBy spelling: ByteString) -> [UInt8] {
    var result: [UInt8] = []
    var lead: UInt8 = 0
    for unit in spelling.bytes {
      if lead == 0, (0xC2...0xC5).contains(unit) {
        lead = unit
        continue
      }
      let scalar = lead == 0 ? Int(unit) : Int(lead & 0x1F) << 6 | Int(unit & 0x3F)
      lead = 0
      guard scalar < bytes.count, let byte = bytes[scalar] else { return spelling.bytes }
      result.append(byte)
    }
    return result
  }
}
