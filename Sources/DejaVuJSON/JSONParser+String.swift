extension JSONParser {
  /// Reads a quoted string, undoing escapes and refusing anything that is not well-formed UTF-8.
  mutating func string() throws(JSONError) -> ByteString {
    let start = position
    position += 1
    var text: [UInt8] = []
    var runStart = position
    while let byte = current {
      switch byte {
      case UInt8(ascii: "\""):
        text.append(contentsOf: bytes[runStart..<position])
        position += 1
        return ByteString(text)
      case UInt8(ascii: "\\"):
        text.append(contentsOf: bytes[runStart..<position])
        try escape(into: &text)
        runStart = position
      case 0..<0x20:
        throw error("control character 0x\(String(byte, radix: 16)) inside a string")
      case 0x20..<0x80:
        position += 1
      default:
        try multibyteScalar()
      }
    }
    throw error("string without an end", at: start)
  }

  /// Steps over one well-formed multi-byte scalar (Unicode 15, table 3-7).
  private mutating func multibyteScalar() throws(JSONError) {
    let lead = bytes[position]
    let (length, second): (Int, ClosedRange<UInt8>) =
      switch lead {
      case 0xC2...0xDF: (2, 0x80...0xBF)
      case 0xE0: (3, 0xA0...0xBF)
      case 0xE1...0xEC, 0xEE...0xEF: (3, 0x80...0xBF)
      case 0xED: (3, 0x80...0x9F)
      case 0xF0: (4, 0x90...0xBF)
      case 0xF1...0xF3: (4, 0x80...0xBF)
      case 0xF4: (4, 0x80...0x8F)
      default: (0, 0...0)
      }
    guard length > 0, position + length <= bytes.count, second.contains(bytes[position + 1]) else {
      throw error("ill-formed UTF-8")
    }
    for offset in 2..<max(length, 2) where bytes[position + offset] & 0xC0 != 0x80 {
      throw error("ill-formed UTF-8", at: position + offset)
    }
    position += length
  }

  private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
    let start = position
    position += 1
    guard let byte = current else { throw error("string without an end", at: start) }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"): try unicodeEscape(into: &text, from: start)
    default: throw error("unknown escape", at: start)
    }
  }

  private mutating func unicodeEscape(
    into text: inout [UInt8], from start: Int
  ) throws(JSONError) {
    var code = UInt32(try codeUnit(from: start))
    if (0xD800..<0xDC00).contains(code) {
      guard current == UInt8(ascii: "\\"), position + 1 < bytes.count,
        bytes[position + 1] == UInt8(ascii: "u")
      else { throw error("lone surrogate", at: start) }
      position += 2
      let low = UInt32(try codeUnit(from: start))
      guard (0xDC00..<0xE000).contains(low) else { throw error("lone surrogate", at: start) }
      code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
    }
    guard let scalar = Unicode.Scalar(code) else { throw error("lone surrogate", at: start) }
    text.append(contentsOf: String(Character(scalar)).utf8)
  }

  private mutating func codeUnit(from start: Int) throws(JSONError) -> UInt16 {
    var value: UInt16 = 0
    for _ in 0..<4 {
      guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw error("malformed \\u escape", at: start)
      }
      value = value << 4 | UInt16(digit)
      position += 1
    }
    return value
  }
}
