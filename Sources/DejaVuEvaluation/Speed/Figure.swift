import Foundation

/// A measured number in a report: rounded to four places, `null` where it was not measured.
package struct Figure: Codable, Hashable, Sendable, ExpressibleByFloatLiteral {
  package let value: Double?

  package init(_ value: Double?) {
    self.value = value.flatMap { $0.isFinite ? ($0 * 1e4).rounded() / 1e4 : nil }
  }

  /// A number that may be very small: rounded to four digits that count.
  package init(small value: Double?) {
    guard let value, value.isFinite, value != 0 else {
      self.value = value.flatMap { $0.isFinite ? 0 : nil }
      return
    }
    let scale = pow(10, 3 - log10(abs(value)).rounded(.down))
    self.value = (value * scale).rounded() / scale
  }

  package init(floatLiteral value: Double) { self.init(value) }

  package init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    // What was written is rounded already, to places or to digits.
    value = container.decodeNil() ? nil : try container.decode(Double.self)
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    if let value { try container.encode(value) } else { try container.encodeNil() }
  }

  /// The number with so many digits behind the point; a dash where there is none.
  package func text(_ digits: Int) -> String {
    value.map { String(format: "%.\(digits)f", $0) } ?? "-"
  }

  /// A share in percent.
  package var percent: String { value.map { String(format: "%.1f %%", 100 * $0) } ?? "-" }
}

/// A figure's middle and its extremes over the rounds.
package struct Spread: Codable, Hashable, Sendable {
  package let median: Figure
  package let lowest: Figure
  package let highest: Figure

  package init(_ values: [Double]) {
    median = Figure(values.isEmpty ? nil : Statistics.median(values))
    lowest = Figure(values.min())
    highest = Figure(values.max())
  }

  package func text(_ digits: Int) -> String {
    "\(lowest.text(digits))–\(highest.text(digits))"
  }

  package var percent: String {
    guard let low = lowest.value, let high = highest.value else { return "-" }
    return String(format: "%.1f–%.1f %%", 100 * low, 100 * high)
  }
}

/// Times of repeated steps in milliseconds.
package struct Latency: Codable, Hashable, Sendable {
  package let median: Figure
  package let p95: Figure

  package init(_ values: [Double]) {
    median = Figure(values.isEmpty ? nil : Statistics.median(values))
    p95 = Figure(values.isEmpty ? nil : Statistics.percentile(values, 0.95))
  }
}
