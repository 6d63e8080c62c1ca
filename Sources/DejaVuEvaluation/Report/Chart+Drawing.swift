import Foundation

extension Chart {
  private static let width = 440.0
  private static let (left, right, bottom) = (50.0, 16.0, 50.0)
  private static let plot = 220.0
  /// Shapes and dashes that the style sheet has.
  static let styles = 6

  /// The drawing, for a page that holds its style sheet.
  ///
  /// - Parameters:
  ///   - title: what it shows, for those who cannot see it.
  ///   - description: how it shows it.
  /// - Returns: the drawing without a ground of its own.
  func svg(title: String, description: String) -> SVG {
    switch content {
    case .bars(let bars): return draw(bars, title, description)
    case .lines(let series): return draw(series, joined: true, title, description)
    case .marks(let series): return draw(series, joined: false, title, description)
    }
  }

  private func draw(
    _ series: [Series], joined: Bool, _ title: String, _ description: String
  ) -> SVG {
    let rows = legendRows(series)
    let top = 20 * Double(rows.count) + 34
    let height = top + Self.plot + Self.bottom
    var svg = SVG(
      width: Self.width, height: height, title: title, description: description, style: "")
    for (row, entries) in rows.enumerated() {
      for entry in entries {
        key(series[entry.index], entry.index, joined, (entry.x, 12 + 20 * Double(row)), &svg)
      }
    }
    let points = series.flatMap(\.points)
    let xs = ChartScale((points.map(\.x).min() ?? 0)...(points.map(\.x).max() ?? 1), ticks: 6)
    let found = (points.map(\.y).min() ?? 0)...(points.map(\.y).max() ?? 1)
    let wanted = yRange ?? found
    let ys = ChartScale(
      min(wanted.lowerBound, found.lowerBound)...max(wanted.upperBound, found.upperBound),
      ticks: 5)
    let at = { (point: Point) -> (x: Double, y: Double) in
      (
        Self.left + 8 + xs.place(point.x) * (Self.width - Self.left - Self.right - 16),
        top + (1 - ys.place(point.y)) * Self.plot
      )
    }
    axes(xs, ys, at, top: top, &svg)
    for (index, one) in series.enumerated() {
      let style = "s\(index % Self.styles)"
      let places = one.points.map(at)
      if joined || index == series.count - 1, places.count > 1 {
        svg.polyline(places, class: "line \(style)")
      }
      for (point, place) in zip(one.points, places) {
        svg.mark(
          index % Self.styles, place, class: "dot \(style)",
          tip: "\(one.name): \(Self.number(point.y)) at \(Self.number(point.x))")
        guard !point.label.isEmpty else { continue }
        // Marks of two series may lie side by side: labels of every second one stand on the left.
        let isLeft = index % 2 == 1 || place.x > Self.width - 90
        svg.text(
          point.label, (place.x + (isLeft ? -8 : 8), place.y + (index % 2 == 1 ? 16 : -6)),
          class: "note", anchor: isLeft ? "end" : "start")
      }
    }
    return svg
  }

  private func axes(
    _ xs: ChartScale, _ ys: ChartScale, _ at: (Point) -> (x: Double, y: Double), top: Double,
    _ svg: inout SVG
  ) {
    svg.text(yTitle, (0, top - 14), class: "note")
    for tick in ys.ticks {
      let from = at(Point(x: xs.low, y: tick))
      svg.line(
        (Self.left, from.y), (Self.width - Self.right, from.y),
        class: tick == ys.low ? "base" : "grid")
      svg.text(Self.number(tick), (Self.left - 7, from.y + 4), class: "tick", anchor: "end")
    }
    for tick in xs.ticks {
      let from = at(Point(x: tick, y: ys.low))
      svg.line(from, (from.x, from.y + 4), class: "base")
      svg.text(Self.number(tick), (from.x, from.y + 19), class: "tick", anchor: "middle")
    }
    svg.text(
      xTitle, (Self.width - Self.right, top + Self.plot + 40), class: "note", anchor: "end")
  }

  /// Where each name of the legend begins; names that do not fit begin a new row.
  private func legendRows(_ series: [Series]) -> [[(index: Int, x: Double)]] {
    var rows: [[(index: Int, x: Double)]] = [[]]
    var x = 0.0
    for (index, one) in series.enumerated() {
      // Text is not measured: letters of this size are at most seven and a half wide.
      let width = 34 + 7.5 * Double(one.name.count) + 14
      if x > 0 && x + width > Self.width {
        rows.append([])
        x = 0
      }
      rows[rows.count - 1].append((index, x))
      x += width
    }
    return rows
  }

  private func key(
    _ series: Series, _ index: Int, _ joined: Bool, _ at: (x: Double, y: Double),
    _ svg: inout SVG
  ) {
    let style = "s\(index % Self.styles)"
    if joined { svg.line(at, (at.x + 26, at.y), class: "line \(style)") }
    svg.mark(
      index % Self.styles, (at.x + 13, at.y), class: "dot \(style)", tip: series.name)
    svg.text(series.name, (at.x + 33, at.y + 4.5), class: "label")
  }

  private func draw(_ bars: [Bar], _ title: String, _ description: String) -> SVG {
    let (pitch, top) = (44.0, 26.0)
    let height = top + pitch * Double(bars.count) + 8
    var svg = SVG(
      width: Self.width, height: height, title: title, description: description, style: "")
    svg.text(xTitle, (0, 14), class: "note")
    let greatest = max(bars.map(\.value).max() ?? 1, yRange?.upperBound ?? 0, 1e-12)
    for (index, bar) in bars.enumerated() {
      let y = top + pitch * Double(index)
      svg.text(bar.name, (0, y + 15), class: "label")
      svg.text(bar.label, (Self.width, y + 15), class: "value", anchor: "end")
      svg.rectangle((0, y + 21), (Self.width, 12), class: "track")
      svg.rectangle(
        (0, y + 21), (max(bar.value, 0) / greatest * Self.width, 12), class: "bar")
    }
    return svg
  }

  /// At most four digits that count.
  static func number(_ value: Double) -> String {
    let rounded = (value * 1e4).rounded() / 1e4
    // No scale has a negative zero.
    return String(format: "%g", Double(String(format: "%.4g", rounded == 0 ? 0 : rounded)) ?? 0)
  }
}
