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
  /// Unique within its object, byte for byte.
  public let key: ByteString
  /// What stands behind the colon.
  public let value: JSON

  /// A pair; whether the key is unique is the business of the object.
  public init(key: ByteString, value: JSON) {
    self.key = key
    self.value = value
  }
}

/// UTF-8 text that compares by its bytes.
public struct ByteString: Hashable, Sendable, Comparable, ExpressibleByStringLiteral {
  /// Well-formed UTF-8 where the parser made it, escapes undone.
  public let bytes: [UInt8]

  /// Takes bytes as they are; they should be well-formed UTF-8.
  public init(_ bytes: [UInt8]) { self.bytes = bytes }
  /// The UTF-8 of a text, in the form that it has: nothing is normalised.
  public init(_ text: String) { bytes = Array(text.utf8) }
  /// The UTF-8 of a literal.
  public init(stringLiteral value: StaticString) {
    bytes = Array(value.description.utf8)
  }

  /// The text as a Swift string; always valid, since the parser refuses ill-formed UTF-8.
  public var text: String { String(decoding: bytes, as: UTF8.self) }

  /// Byte by byte, which is the order of the code points.
  public static func < (left: ByteString, right: ByteString) -> Bool {
    left.bytes.lexicographicallyPrecedes(right.bytes)
  }
}

/// A JSON number in the file's own spelling.
public struct JSONNumber: Hashable, Sendable {
  /// The number as it stands in the file, such as `1e-5` or `-0`.
  public let spelling: String

  /// Takes a number that follows the grammar of JSON.
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

  /// The pairs of an object in the order of the file; nil for any other value.
  public var members: [JSONMember]? {
    if case .object(let members) = self { members } else { nil }
  }

  /// The elements of an array; nil for any other value.
  public var elements: [JSON]? {
    if case .array(let elements) = self { elements } else { nil }
  }

  /// A string by its bytes; nil for any other value.
  public var bytes: ByteString? {
    if case .string(let bytes) = self { bytes } else { nil }
  }

  /// A string as Swift's, where canonically equal texts are one; nil for any other value.
  public var text: String? { bytes?.text }

  /// `true` or `false`; nil for any other value, numbers included.
  public var bool: Bool? {
    if case .bool(let value) = self { value } else { nil }
  }

  /// A plain integer; `1.0` and `1e2` are not integers here.
  public var integer: Int? {
    if case .number(let number) = self { number.integer } else { nil }
  }

  /// A number in double precision; nil when it overflows, and for any other value.
  public var double: Double? {
    if case .number(let number) = self { number.double } else { nil }
  }

  /// Whether this is `null`, which is not the same as an absent member.
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
