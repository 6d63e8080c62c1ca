/// A JSON value, as strict as RFC 8259 and with nothing lost.
///
/// Strings keep their UTF-8 bytes, because Swift's `String` treats canonically equal texts as one
/// and vocabularies hold both. Numbers keep their spelling until someone asks for a type.
public indirect enum JSON: Hashable, Sendable {
  case null
  case bool(Bool)
  case number(JSONNumber)
  case string(ByteString)
  case array([JSON])
  case object([JSONMember])
}

/// One `"key": value` pair of an object, in the order of the file.
public struct JSONMember: Hashable, Sendable {
  public let key: ByteString
  public let value: JSON

  public init(key: ByteString, value: JSON) {
    self.key = key
    self.value = value
  }
}

/// UTF-8 text that compares by its bytes.
public struct ByteString: Hashable, Sendable, Comparable, ExpressibleByStringLiteral {
  public let bytes: [UInt8]

  public init(_ bytes: [UInt8]) { self.bytes = bytes }
  public init(_ text: String) { bytes = Array(text.utf8) }
  public init(stringLiteral value: StaticString) {
    bytes = Array(value.description.utf8)
  }

  /// The text as a Swift string; always valid, since the parser refuses ill-formed UTF-8.
  public var text: String { String(decoding: bytes, as: UTF8.self) }

  public static func < (left: ByteString, right: ByteString) -> Bool {
    left.bytes.lexicographicallyPrecedes(right.bytes)
  }
}

/// A JSON number in the file's own spelling.
public struct JSONNumber: Hashable, Sendable {
  public let spelling: String

  public init(spelling: String) { self.spelling = spelling }

  /// The value when the spelling is a plain integer (no fraction, no exponent) that fits.
  public var integer: Int? {
    spelling.utf8.allSatisfy { $0 == 0x2D || ($0 >= 0x30 && $0 <= 0x39) } ? Int(spelling) : nil
  }

  /// The value in double precision when it is finite.
  public var double: Double? {
    guard let value = Double(spelling), value.isFinite else { return nil }
    return value
  }
}

extension JSON {
  /// The member of an object with exactly this key, byte for byte.
  public subscript(key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    let wanted = ByteString(key)
    return members.first { $0.key == wanted }?.value
  }

  public var members: [JSONMember]? {
    if case .object(let members) = self { members } else { nil }
  }

  public var elements: [JSON]? {
    if case .array(let elements) = self { elements } else { nil }
  }

  public var bytes: ByteString? {
    if case .string(let bytes) = self { bytes } else { nil }
  }

  public var text: String? { bytes?.text }

  public var bool: Bool? {
    if case .bool(let value) = self { value } else { nil }
  }

  /// A plain integer; `1.0` and `1e2` are not integers here.
  public var integer: Int? {
    if case .number(let number) = self { number.integer } else { nil }
  }

  public var double: Double? {
    if case .number(let number) = self { number.double } else { nil }
  }

  public var isNull: Bool { self == .null }

  /// The word an error message uses for this kind of value.
  public var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}
