import DejaVuJSON

/// The one door through which values of a configuration file enter.
///
/// Every number leaves with a range that was checked, so that what is computed from it later
/// cannot overflow. A field may be known by several names; the first that is present counts.
struct ConfigReader {
  let json: JSON
  let file: String
  /// Where `json` stands inside the file, for messages: `rope_scaling.`, its point included.
  var prefix = ""

  /// The value under the first present name.
  func value(_ fields: [String]) -> (name: String, json: JSON)? {
    for field in fields {
      if let value = json[field] { return (field, value) }
    }
    return nil
  }

  /// As `value`, with `null` counting as absent.
  func nonNull(_ fields: [String]) -> (name: String, json: JSON)? {
    for field in fields {
      if let value = json[field], !value.isNull { return (field, value) }
    }
    return nil
  }

  /// The object under `field`, or nil when it is absent or null.
  func object(_ field: String) throws(CheckpointError) -> ConfigReader? {
    guard let value = json[field], !value.isNull else { return nil }
    guard value.members != nil else { throw invalid(field, value, "an object") }
    return ConfigReader(json: value, file: file, prefix: prefix + field + ".")
  }

  // MARK: Integers

  /// A required integer.
  func integer(
    _ fields: String..., in range: ClosedRange<Int>
  ) throws(CheckpointError) -> Int {
    guard let (name, value) = value(fields) else {
      throw invalid(fields[0], nil, Self.words(range))
    }
    return try integer(value, name, range)
  }

  /// An integer that may be absent, but not null.
  func integer(
    _ fields: String..., in range: ClosedRange<Int>, default standard: Int
  ) throws(CheckpointError) -> Int {
    guard let (name, value) = value(fields) else { return standard }
    return try integer(value, name, range)
  }

  /// An integer that may be absent or null.
  func optionalInteger(
    _ fields: String..., in range: ClosedRange<Int>
  ) throws(CheckpointError) -> Int? {
    guard let (name, value) = nonNull(fields) else { return nil }
    return try integer(value, name, range)
  }

  func integer(
    _ value: JSON, _ name: String, _ range: ClosedRange<Int>
  ) throws(CheckpointError) -> Int {
    guard let integer = value.integer, range.contains(integer) else {
      throw invalid(name, value, Self.words(range))
    }
    return integer
  }

  // MARK: Numbers

  /// A number that may be absent, but not null.
  func number(
    _ fields: String..., in range: ClosedRange<Double>, default standard: Double
  ) throws(CheckpointError) -> Double {
    guard let (name, value) = value(fields) else { return standard }
    return try number(value, name, range)
  }

  /// A number that may be absent or null.
  func optionalNumber(
    _ fields: String..., in range: ClosedRange<Double>
  ) throws(CheckpointError) -> Double? {
    guard let (name, value) = nonNull(fields) else { return nil }
    return try number(value, name, range)
  }

  /// A required number.
  func requiredNumber(
    _ field: String, in range: ClosedRange<Double>
  ) throws(CheckpointError) -> Double {
    guard let value = json[field] else { throw invalid(field, nil, Self.words(range)) }
    return try number(value, field, range)
  }

  private func number(
    _ value: JSON, _ name: String, _ range: ClosedRange<Double>
  ) throws(CheckpointError) -> Double {
    guard let number = value.double, range.contains(number) else {
      throw invalid(name, value, Self.words(range))
    }
    return number
  }

  // MARK: Others

  /// A boolean that may be absent, but not null.
  func boolean(_ field: String, default standard: Bool) throws(CheckpointError) -> Bool {
    guard let value = json[field] else { return standard }
    guard let boolean = value.bool else { throw invalid(field, value, "true or false") }
    return boolean
  }

  /// A field that must have this value if it is there, because only that value is implemented.
  func require(_ field: String, _ wanted: Bool) throws(CheckpointError) {
    guard try boolean(field, default: wanted) == wanted else {
      throw invalid(field, .bool(!wanted), "\(wanted), the only kind this version runs")
    }
  }

  /// A text that may be absent, but not null.
  func text(_ field: String, default standard: String) throws(CheckpointError) -> String {
    guard let value = json[field] else { return standard }
    guard let text = value.text else { throw invalid(field, value, "a string") }
    return text
  }

  /// The error for a field with a wrong value, or without one.
  func invalid(_ field: String, _ found: JSON?, _ expected: String) -> CheckpointError {
    .invalidField(
      file: file, field: prefix + field, found: found.map(Self.words) ?? "missing",
      expected: expected)
  }

  /// A found value as a message shows it.
  private static func words(_ value: JSON) -> String {
    switch value {
    case .bool(let value): value ? "true" : "false"
    case .number(let number): number.spelling
    case .string(let bytes): "the string '\(bytes.text)'"
    case .null, .array, .object: value.kind
    }
  }

  private static func words(_ range: ClosedRange<Int>) -> String {
    "an integer from \(range.lowerBound) to \(range.upperBound)"
  }

  private static func words(_ range: ClosedRange<Double>) -> String {
    "a number from \(range.lowerBound) to \(range.upperBound)"
  }
}
