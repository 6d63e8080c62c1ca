/// Order statistics of repeated measurements.
public enum Statistics {
  /// The middle value, or the mean of the two middle ones; 0 of nothing.
  public static func median(_ values: [Double]) -> Double { percentile(values, 0.5) }

  /// The value below which a share of the measurements lies, interpolated.
  public static func percentile(_ values: [Double], _ share: Double) -> Double {
    let sorted = values.sorted()
    guard let last = sorted.indices.last else { return 0 }
    let at = share * Double(last)
    let low = Int(at.rounded(.down))
    let high = min(low + 1, last)
    return sorted[low] + (sorted[high] - sorted[low]) * (at - Double(low))
  }
}

extension Duration {
  /// The duration in seconds.
  package var seconds: Double { self / .seconds(1) }
  /// The duration in milliseconds.
  package var milliseconds: Double { self / .milliseconds(1) }
}
