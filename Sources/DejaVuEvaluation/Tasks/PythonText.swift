/// Operations on text with Python's meaning: code point by code point, where Swift's characters
/// would take a space and an accent, or a carriage return and a line feed, as one.
enum PythonText {
  /// Whether `str.isspace` says so.
  static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
  }

  /// `str.strip`.
  static func strip(_ text: String) -> String {
    let scalars = text.unicodeScalars
    guard let first = scalars.firstIndex(where: { !isSpace($0) }),
      let last = scalars.lastIndex(where: { !isSpace($0) })
    else { return "" }
    return String(scalars[first...last])
  }

  /// `str.rstrip`, and what it takes away.
  static func splitTrailingSpace(_ text: String) -> (text: String, space: String) {
    let scalars = text.unicodeScalars
    guard let last = scalars.lastIndex(where: { !isSpace($0) }) else { return ("", text) }
    let end = scalars.index(after: last)
    return (String(scalars[..<end]), String(scalars[end...]))
  }

  /// The text without its last code point.
  static func dropLast(_ text: String) -> String { String(text.unicodeScalars.dropLast()) }

  /// `str.lower` of the first code point, the rest as it is.
  static func lowercasingFirst(_ text: String) -> String {
    guard let first = text.unicodeScalars.first else { return text }
    return first.properties.lowercaseMapping + String(text.unicodeScalars.dropFirst())
  }

  /// `str.capitalize`: the first code point in title case, all others in lower case.
  static func capitalize(_ text: String) -> String {
    guard let first = text.unicodeScalars.first else { return text }
    return text.unicodeScalars.dropFirst().reduce(into: first.properties.titlecaseMapping) {
      $0 += $1.properties.lowercaseMapping
    }
  }

  /// `str.replace`, from left to right and without overlaps.
  static func replace(_ text: String, _ old: String, by new: String) -> String {
    let (bytes, wanted, replacement) = (Array(text.utf8), Array(old.utf8), Array(new.utf8))
    var (result, at) = ([UInt8](), 0)
    while at < bytes.count {
      if bytes[at...].starts(with: wanted) {
        result += replacement
        at += wanted.count
      } else {
        result.append(bytes[at])
        at += 1
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  /// `re.sub("\\[.*?\\]", "", text)`: brackets that close on their own line go, with what they hold.
  static func removingBrackets(_ text: String) -> String {
    let bytes = Array(text.utf8)
    var (result, at) = ([UInt8](), 0)
    while at < bytes.count {
      if bytes[at] == UInt8(ascii: "["), let end = closing(bytes, behind: at) {
        at = end + 1
      } else {
        result.append(bytes[at])
        at += 1
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  private static func closing(_ bytes: [UInt8], behind start: Int) -> Int? {
    for index in (start + 1)..<bytes.count {
      if bytes[index] == UInt8(ascii: "]") { return index }
      if bytes[index] == UInt8(ascii: "\n") { return nil }
    }
    return nil
  }

  /// A text parted at its last space; nil where it has none.
  static func partedAtLastSpace(_ text: String) -> (before: String, after: String)? {
    guard let space = text.utf8.lastIndex(of: UInt8(ascii: " ")) else { return nil }
    return (String(text[..<space]), String(text[text.utf8.index(after: space)...]))
  }

  /// A text parted at its first underscore; nil where it has none.
  static func partedAtBlank(_ text: String) -> (before: String, after: String)? {
    guard let blank = text.utf8.firstIndex(of: UInt8(ascii: "_")) else { return nil }
    return (String(text[..<blank]), String(text[text.utf8.index(after: blank)...]))
  }
}
