import Foundation

/// Numbers as people read them, the same in every locale.
enum Quantity {
  /// Bytes in decimal units: `950 B`, `32.3 MB`, `2.63 GB`.
  static func bytes(_ count: Double) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"]
    var (value, unit) = (count, 0)
    while value >= 999.5 && unit + 1 < units.count {
      value /= 1000
      unit += 1
    }
    if unit == 0 { return "\(Int(value)) B" }
    return "\(decimals(value, value < 10 ? 2 : value < 100 ? 1 : 0)) \(units[unit])"
  }

  static func bytes(_ count: Int) -> String { bytes(Double(count)) }

  static func decimals(_ value: Double, _ digits: Int) -> String {
    String(format: "%.\(digits)f", value)
  }

  /// Thousands apart: `16,153,344`.
  static func grouped(_ value: Int) -> String {
    var text = ""
    for (index, digit) in String(value).reversed().enumerated() {
      if index > 0 && index % 3 == 0 && digit != "-" { text.append(",") }
      text.append(digit)
    }
    return String(text.reversed())
  }

  static func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }

  /// `0.31 s`, `12.4 s`, `3 min 20 s`.
  static func time(_ seconds: Double) -> String {
    if seconds < 10 { return "\(decimals(seconds, 2)) s" }
    if seconds < 100 { return "\(decimals(seconds, 1)) s" }
    guard seconds < 360_000 else { return "days" }
    let whole = Int(seconds)
    return whole < 3600
      ? "\(whole / 60) min \(whole % 60) s" : "\(whole / 3600) h \(whole / 60 % 60) min"
  }
}
