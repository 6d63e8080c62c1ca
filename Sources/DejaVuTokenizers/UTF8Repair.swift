/// Passes UTF-8 through byte by byte and puts U+FFFD in place of what is ill-formed.
///
/// One U+FFFD stands for each maximal part that could have begun a scalar (Unicode 3.9, "best
/// practices for using U+FFFD"), as in Python and Rust.
struct UTF8Repair: Sendable {
  static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

  /// The beginning of a scalar whose rest has not come yet.
  private var pending: [UInt8] = []
  private var missing = 0
  private var allowed: ClosedRange<UInt8> = 0x80...0xBF

  mutating func feed(_ byte: UInt8, to text: inout [UInt8]) {
    if missing > 0 {
      if allowed.contains(byte) {
        extend(with: byte, to: &text)
        return
      }
      flush(to: &text)
    }
    start(with: byte, to: &text)
  }

  /// Ends the text: a scalar that never came to its end becomes one U+FFFD.
  mutating func flush(to text: inout [UInt8]) {
    guard missing > 0 else { return }
    text.append(contentsOf: Self.replacement)
    pending.removeAll()
    missing = 0
  }

  private mutating func extend(with byte: UInt8, to text: inout [UInt8]) {
    pending.append(byte)
    missing -= 1
    allowed = 0x80...0xBF
    guard missing == 0 else { return }
    text.append(contentsOf: pending)
    pending.removeAll()
  }

  /// The lead bytes of Unicode's table 3-7.
  private mutating func start(with byte: UInt8, to text: inout [UInt8]) {
    switch byte {
    case 0..<0x80:
      text.append(byte)
      return
    case 0xC2...0xDF: (missing, allowed) = (1, 0x80...0xBF)
    case 0xE0: (missing, allowed) = (2, 0xA0...0xBF)
    case 0xED: (missing, allowed) = (2, 0x80...0x9F)
    case 0xE1...0xEF: (missing, allowed) = (2, 0x80...0xBF)
    case 0xF0: (missing, allowed) = (3, 0x90...0xBF)
    case 0xF1...0xF3: (missing, allowed) = (3, 0x80...0xBF)
    case 0xF4: (missing, allowed) = (3, 0x80...0x8F)
    default:
      text.append(contentsOf: Self.replacement)
      return
    }
    pending.append(byte)
  }

  /// The same text, well-formed.
  static func wellFormed(_ text: [UInt8]) -> [UInt8] {
    if String(validating: text, as: UTF8.self) != nil { return text }
    var repair = UTF8Repair()
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    for byte in text { repair.feed(byte, to: &result) }
    repair.flush(to: &result)
    return result
  }
}
