import ArgumentParser

/// Readers of numeric options: each names its range when a value lies outside.
enum Numbers {
  /// A whole number in `range`.
  static func whole(_ range: ClosedRange<Int>) -> @Sendable (String) throws -> Int {
    { text in
      guard let value = Int(text), range.contains(value) else {
        throw ValidationError(
          "it must be a whole number from \(range.lowerBound) to \(range.upperBound)")
      }
      return value
    }
  }

  /// A finite number in `range`.
  static func real(_ range: ClosedRange<Double>) -> @Sendable (String) throws -> Double {
    { text in
      guard let value = Double(text), range.contains(value) else {
        let bounds = [range.lowerBound, range.upperBound].map {
          $0 == $0.rounded() ? String(Int($0)) : String($0)
        }
        throw ValidationError("it must be a number from \(bounds[0]) to \(bounds[1])")
      }
      return value
    }
  }

  /// A share above 0 and at most 1, as `0.08` or `8%`.
  @Sendable
  static func share(_ text: String) throws -> Double {
    let isPercent = text.hasSuffix("%")
    guard let number = Double(isPercent ? String(text.dropLast()) : text),
      case let share = isPercent ? number / 100 : number, share > 0, share <= 1
    else { throw ValidationError("it must be a share above 0 and up to 1, such as 0.08 or 8%") }
    return share
  }

  /// A time of at least a second, as `90s`, `30m` or `2h`.
  @Sendable
  static func time(_ text: String) throws -> Duration {
    let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600]
    guard let unit = text.last.flatMap({ units[$0] }), let number = Double(text.dropLast()),
      case let seconds = number * unit, seconds >= 1, seconds <= 3.2e7
    else { throw ValidationError("it must be a time such as 90s, 30m or 2h") }
    return .seconds(seconds)
  }

  /// A number of bytes with an optional unit, in `range`.
  static func bytes(_ range: ClosedRange<Int>) -> @Sendable (String) throws -> Int {
    { text in
      let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
      let unit = text.dropFirst(digits.count).drop { $0 == " " }.uppercased()
      guard let value = Double(digits), let factor = units[unit],
        case let bytes = value * factor, bytes >= Double(range.lowerBound),
        bytes <= Double(range.upperBound)
      else {
        throw ValidationError(
          "it must be a size such as 5GB, 500MB or 4GiB, from \(Quantity.bytes(range.lowerBound)) "
            + "to \(Quantity.bytes(range.upperBound))")
      }
      return Int(bytes)
    }
  }

  private static let units: [String: Double] = [
    "": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 0x1p10, "MIB": 0x1p20,
    "GIB": 0x1p30, "TIB": 0x1p40,
  ]
}
