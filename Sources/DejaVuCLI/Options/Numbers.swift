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
