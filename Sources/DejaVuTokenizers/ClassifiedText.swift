/// What the split patterns want to know of a scalar.
enum ScalarKind: UInt8, Sendable {
  /// `\p{L}`
  case letter
  /// `\p{N}`
  case number
  /// U+0020, which the patterns glue to the word after it.
  case space
  /// `[\r\n]`
  case newline
  /// Any other `\s`, which means White_Space.
  case whitespace
  /// Everything else: punctuation, symbols, marks, controls.
  case other

  var isWhitespace: Bool { self == .space || self == .newline || self == .whitespace }

  init(_ scalar: Unicode.Scalar) {
    self =
      scalar.value < 0x80
      ? Self.ascii[Int(scalar.value)] : Self(properties: scalar.properties, of: scalar)
  }

  private static let ascii: [ScalarKind] = (0..<0x80).map { (code: UInt8) in
    let scalar = Unicode.Scalar(code)
    return ScalarKind(properties: scalar.properties, of: scalar)
  }

  private init(properties: Unicode.Scalar.Properties, of scalar: Unicode.Scalar) {
    switch properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
      self = .letter
    case .decimalNumber, .letterNumber, .otherNumber:
      self = .number
    default:
      self =
        switch scalar {
        case " ": .space
        case "\r", "\n": .newline
        default: properties.isWhitespace ? .whitespace : .other
        }
    }
  }
}

/// A stretch of well-formed UTF-8 with the kind and place of each scalar.
struct ClassifiedText {
  let bytes: ArraySlice<UInt8>
  private(set) var kinds: [ScalarKind] = []
  /// The offset of each scalar in `bytes`, and the end of the text after the last.
  private(set) var starts: [Int] = []

  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    kinds.reserveCapacity(bytes.count)
    starts.reserveCapacity(bytes.count + 1)
    var start = bytes.startIndex
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
      kinds.append(ScalarKind(scalar))
      starts.append(start)
      start += UTF8.width(scalar)
    }
    starts.append(start)
  }

  var count: Int { kinds.count }

  /// The first place from `index` on whose kind is not wanted, or that is `limit` further on.
  func endOfRun(
    from index: Int, limit: Int? = nil, while wanted: (ScalarKind) -> Bool
  ) -> Int {
    let last = limit.map { min(index + $0, kinds.count) } ?? kinds.count
    var end = index
    while end < last, wanted(kinds[end]) { end += 1 }
    return end
  }

  /// The bytes of the scalars in `range`.
  subscript(range: Range<Int>) -> ArraySlice<UInt8> {
    bytes[starts[range.lowerBound]..<starts[range.upperBound]]
  }
}
