import DejaVuJSON

/// A JSON value to be written; members keep their order.
indirect enum JSONValue {
  case null
  case bool(Bool)
  case whole(Int)
  /// Four digits behind the point; a number that is not finite becomes null.
  case real(Double)
  /// As many digits as it has; a number that is not finite becomes null.
  case precise(Double)
  case text(String)
  case array([JSONValue])
  case object([(key: String, value: JSONValue)])

  static func milliseconds(_ duration: Duration) -> JSONValue {
    .real(duration / .milliseconds(1))
  }
}

extension JSONValue: ExpressibleByDictionaryLiteral, ExpressibleByStringLiteral,
  ExpressibleByArrayLiteral
{
  init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(elements.map { (key: $0.0, value: $0.1) })
  }
  init(stringLiteral value: String) { self = .text(value) }
  init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
}

extension JSONValue: CustomStringConvertible {
  /// One line of JSON.
  var description: String {
    switch self {
    case .null: return "null"
    case .bool(let value): return value ? "true" : "false"
    case .whole(let value): return String(value)
    case .real(let value):
      let rounded = (value * 1e4).rounded() / 1e4
      return rounded.isFinite ? String(rounded) : "null"
    case .precise(let value): return value.isFinite ? String(value) : "null"
    case .text(let text): return JSON.quoted(text)
    case .array(let elements):
      return "[" + elements.map(\.description).joined(separator: ", ") + "]"
    case .object(let members):
      let pairs = members.map { "\(JSON.quoted($0.key)): \($0.value)" }
      return "{" + pairs.joined(separator: ", ") + "}"
    }
  }
}
