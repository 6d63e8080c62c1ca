/// The shares of rows that thresholds of one chooser leave, as calibration measured them.
public struct DensityCurve: Hashable, Sendable {
  /// One threshold of a curve.
  public struct Point: Hashable, Sendable {
    /// Share of rows whose scores are above the threshold.
    public var density: Double
    /// Of the chooser's own scores.
    public var threshold: Float

    /// A measured pair.
    public init(density: Double, threshold: Float) {
      self.density = density
      self.threshold = threshold
    }
  }

  /// Densities ascend, thresholds descend.
  public let points: [Point]

  /// A curve through the given points, without those that contradict their forerunners.
  public init(_ points: [Point] = []) {
    var kept: [Point] = []
    for point in points.sorted(by: { $0.density < $1.density }) {
      if let last = kept.last,
        point.density <= last.density || point.threshold >= last.threshold
      {
        continue
      }
      kept.append(point)
    }
    self.points = kept
  }

  /// The curve with one point that is certain: measured points that contradict it are dropped.
  func anchored(_ anchor: Point) -> DensityCurve {
    DensityCurve(
      points.filter {
        ($0.density < anchor.density) == ($0.threshold > anchor.threshold)
          && $0.density != anchor.density && $0.threshold != anchor.threshold
      } + [anchor])
  }

  /// The threshold of a density, linear between points and the nearest point's outside; nil for a
  /// curve without points.
  func threshold(at density: Double) -> Float? {
    guard let first = points.first, let last = points.last else { return nil }
    if density <= first.density { return first.threshold }
    guard let upper = points.firstIndex(where: { $0.density >= density }) else {
      return last.threshold
    }
    let (a, b) = (points[upper - 1], points[upper])
    let share = (density - a.density) / (b.density - a.density)
    return a.threshold + Float(share) * (b.threshold - a.threshold)
  }
}
