/// What a chart shows; how it is drawn is ``Chart/svg``'s business.
struct Chart {
  struct Point: Hashable {
    let x: Double
    let y: Double
    /// Written beside the mark, where there is something to say.
    var label = ""
  }

  /// Points that belong together: one colour, one dash and one shape of marks, so that no colour is
  /// needed to tell them apart.
  struct Series {
    let name: String
    let points: [Point]

    init(_ name: String, _ points: [Point]) { (self.name, self.points) = (name, points) }

    /// By layer; figures that were not measured are left out.
    init(_ name: String, byLayer figures: [Figure], scale: Double = 1) {
      self.name = name
      points = figures.enumerated().compactMap { layer, figure in
        figure.value.map { Point(x: Double(layer), y: $0 * scale) }
      }
    }
  }

  enum Content {
    /// Marks joined by lines.
    case lines([Series])
    /// The last series alone is joined, the others are single marks.
    case marks([Series])
    /// A bar for each name, its value in words beside it.
    case bars([Bar])
  }

  struct Bar {
    let name: String
    let value: Double
    let label: String
  }

  let content: Content
  /// Names and units of the axes.
  let xTitle: String
  let yTitle: String
  /// What the y axis must reach; nil takes what the values need.
  var yRange: ClosedRange<Double>?
}

/// Round numbers over a range.
struct ChartScale: Hashable {
  let low: Double
  let high: Double
  let step: Double

  /// - Parameters:
  ///   - range: what must lie on the scale.
  ///   - ticks: about how many steps.
  init(_ range: ClosedRange<Double>, ticks: Int) {
    let span = range.upperBound - range.lowerBound
    let axis = PlotAxis(greatest: span > 0 ? span : 1, ticks: ticks)
    step = axis.step
    low = (range.lowerBound / axis.step + 1e-9).rounded(.down) * axis.step
    let end = (range.upperBound / axis.step - 1e-9).rounded(.up) * axis.step
    high = end > low ? end : low + axis.step
  }

  var ticks: [Double] {
    let count = Int(((high - low) / step).rounded())
    return (0...count).map { low + Double($0) * step }
  }

  /// Where a value lies, from 0 to 1.
  func place(_ value: Double) -> Double {
    min(max((value - low) / (high - low), 0), 1)
  }
}
