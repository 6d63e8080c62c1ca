/// What is wrong with a text that should have been JSON, and where.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What is wrong, without the position; a key of the text is cut to 64 characters.
  public let reason: String
  /// Zero-based position of the byte at which the text stopped being JSON.
  public let byteOffset: Int

  /// An error at a zero-based position in bytes.
  public init(reason: String, byteOffset: Int) {
    self.reason = reason
    self.byteOffset = byteOffset
  }

  /// The reason and the position, without a full stop.
  public var description: String { "\(reason) at byte \(byteOffset)" }
}

/// Bounds on what a hostile text may cost.
public struct JSONLimits: Sendable {
  /// Most arrays and objects inside each other; the outermost counts.
  public var depth: Int
  /// Most values in all, arrays and objects counted beside what they hold.
  public var values: Int

  /// Bounds that the files of every known model keep.
  public init(depth: Int = 64, values: Int = 20_000_000) {
    self.depth = depth
    self.values = values
  }
}

extension JSON {
  /// Parses `text` strictly: no trailing comma, comment, `NaN`, byte-order mark, duplicate key,
  /// ill-formed UTF-8 or lone surrogate is let through.
  ///
  /// - Complexity: linear in the number of bytes; recursion is bounded by `limits.depth`.
  public static func parse(
    _ text: some Collection<UInt8>, limits: JSONLimits = JSONLimits()
  ) throws(JSONError) -> JSON {
    var parser = JSONParser(bytes: Array(text), limits: limits)
    return try parser.document()
  }
}

struct JSONParser {
  let bytes: [UInt8]
  let limits: JSONLimits
  var position = 0
  var depth = 0
  var values = 0

  init(bytes: [UInt8], limits: JSONLimits) {
    self.bytes = bytes
    self.limits = limits
  }

  mutating func document() throws(JSONError) -> JSON {
    let value = try value()
    skipSpace()
    guard position == bytes.count else { throw error("text after the value") }
    return value
  }

  func error(_ reason: String, at offset: Int? = nil) -> JSONError {
    JSONError(reason: reason, byteOffset: offset ?? position)
  }

  var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
      position += 1
    }
  }

  mutating func value() throws(JSONError) -> JSON {
    skipSpace()
    values += 1
    guard values <= limits.values else { throw error("more than \(limits.values) values") }
    guard let byte = current else { throw error("the text ends where a value should start") }
    switch byte {
    case UInt8(ascii: "{"): return try nested { parser throws(JSONError) in try parser.object() }
    case UInt8(ascii: "["): return try nested { parser throws(JSONError) in try parser.array() }
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
    default: throw error("unexpected byte 0x\(String(byte, radix: 16))")
    }
  }

  mutating func nested(
    _ body: (inout JSONParser) throws(JSONError) -> JSON
  ) throws(JSONError) -> JSON {
    depth += 1
    defer { depth -= 1 }
    guard depth <= limits.depth else { throw error("nested deeper than \(limits.depth)") }
    position += 1
    return try body(&self)
  }

  mutating func word(_ text: StaticString, _ value: JSON) throws(JSONError) -> JSON {
    for expected in text.description.utf8 {
      guard current == expected else { throw error("expected '\(text)'") }
      position += 1
    }
    return value
  }

  mutating func array() throws(JSONError) -> JSON {
    var elements: [JSON] = []
    skipSpace()
    if current == UInt8(ascii: "]") {
      position += 1
      return .array(elements)
    }
    while true {
      elements.append(try value())
      if try endOfList(closing: UInt8(ascii: "]")) { return .array(elements) }
    }
  }

  mutating func object() throws(JSONError) -> JSON {
    var members: [JSONMember] = []
    var keys: Set<ByteString> = []
    skipSpace()
    if current == UInt8(ascii: "}") {
      position += 1
      return .object(members)
    }
    while true {
      skipSpace()
      let start = position
      guard current == UInt8(ascii: "\"") else { throw error("expected a key in double quotes") }
      let key = try string()
      guard keys.insert(key).inserted else {
        throw error("duplicate key '\(key.text.prefix(64))'", at: start)
      }
      skipSpace()
      guard current == UInt8(ascii: ":") else { throw error("expected ':'") }
      position += 1
      members.append(JSONMember(key: key, value: try value()))
      if try endOfList(closing: UInt8(ascii: "}")) { return .object(members) }
    }
  }

  /// Consumes a comma (false) or the closing bracket (true).
  mutating func endOfList(closing: UInt8) throws(JSONError) -> Bool {
    skipSpace()
    guard let byte = current else { throw error("the text ends inside a list") }
    guard byte == closing || byte == UInt8(ascii: ",") else {
      throw error("expected ',' or '\(Character(Unicode.Scalar(closing)))'")
    }
    position += 1
    return byte == closing
  }

  mutating func number() throws(JSONError) -> JSONNumber {
    let start = position
    if current == UInt8(ascii: "-") { position += 1 }
    let leadingZero = current == UInt8(ascii: "0")
    let whole = digits()
    guard whole > 0, !(leadingZero && whole > 1) else { throw error("malformed number", at: start) }
    if current == UInt8(ascii: ".") {
      position += 1
      guard digits() > 0 else { throw error("malformed number", at: start) }
    }
    if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
      position += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
      guard digits() > 0 else { throw error("malformed number", at: start) }
    }
    guard position - start <= 400 else { throw error("number longer than 400 bytes", at: start) }
    return JSONNumber(spelling: String(decoding: bytes[start..<position], as: UTF8.self))
  }

  mutating func digits() -> Int {
    let start = position
    while let byte = current, byte >= 0x30, byte <= 0x39 { position += 1 }
    return position - start
  }
}
