import Foundation

extension SpeedPlot {
  private static let panelHeight = 220.0
  private static let gap = 28.0
  private static let left = 60.0
  private static let top = 128.0
  private static let bottom = 58.0
  private static let rowGap = 82.0
  private static let right = 24.0

  /// The whole drawing.
  var svg: String {
    let columns = max(rows.map(\.count).max() ?? 1, 1)
    let panelWidth = columns == 1 ? 560.0 : columns == 2 ? 320.0 : 230.0
    let width =
      Self.left + Self.right + Double(columns) * panelWidth + Double(columns - 1) * Self.gap
    let height =
      Self.top + Self.bottom + Double(rows.count) * Self.panelHeight
      + Double(rows.count - 1) * Self.rowGap
    var svg = SVG(width: width, height: height, title: title, style: Self.style)
    svg.text(title, (Self.left, 28), class: "title")
    svg.text(subtitle, (Self.left, 48), class: "note")
    legend(into: &svg)
    // One pair of scales for all panels, so that they can be compared.
    let points = rows.joined().flatMap(\.series).flatMap(\.points)
    let x = PlotAxis(greatest: points.map(\.x).max() ?? 1, ticks: columns > 2 ? 5 : 8)
    let y = PlotAxis(greatest: points.map(\.p95).max() ?? 1, ticks: 5)
    for (row, panels) in rows.enumerated() {
      for (column, panel) in panels.enumerated() {
        let frame = Frame(
          x: Self.left + Double(column) * (panelWidth + Self.gap),
          y: Self.top + Double(row) * (Self.panelHeight + Self.rowGap), width: panelWidth,
          height: Self.panelHeight, xAxis: x, yAxis: y)
        draw(panel, in: frame, isFirst: column == 0, into: &svg)
      }
    }
    svg.text(xTitle, (Self.left, height - 14), class: "note")
    return svg.document
  }

  /// A panel's place and scales.
  private struct Frame {
    let x: Double
    let y: Double
    let width: Double
    let height: Double
    let xAxis: PlotAxis
    let yAxis: PlotAxis

    func at(_ value: Double, _ milliseconds: Double) -> (x: Double, y: Double) {
      (x + value / xAxis.end * width, y + height - milliseconds / yAxis.end * height)
    }
  }

  private func legend(into svg: inout SVG) {
    var (x, seen) = (Self.left, Set<String>())
    for series in rows.joined().flatMap(\.series) where seen.insert(series.name).inserted {
      svg.line((x, 68), (x + 18, 68), class: "line \(series.style)")
      if !series.isLevel {
        svg.circle((x + 9, 68), radius: 4, class: "dot \(series.style)", tip: series.name)
      }
      svg.text(series.name, (x + 24, 72), class: "label")
      // Text is not measured: letters of this size are about seven wide.
      x += 24 + 7 * Double(series.name.count) + 18
    }
  }

  private func draw(_ panel: Panel, in frame: Frame, isFirst: Bool, into svg: inout SVG) {
    svg.text(panel.title, (frame.x, frame.y - 26), class: "label")
    let levels = panel.series.filter(\.isLevel).compactMap { series in
      series.points.first.map { "\(series.name) \(number($0.median)) ms" }
    }
    svg.text(levels.joined(separator: ", "), (frame.x, frame.y - 10), class: "value")
    for tick in frame.yAxis.ticks {
      let from = frame.at(0, tick)
      svg.line(from, (frame.x + frame.width, from.y), class: tick == 0 ? "base" : "grid")
      if isFirst {
        svg.text(
          frame.yAxis.label(tick) + (tick == frame.yAxis.end ? " ms" : ""),
          (frame.x - 8, from.y + 4), class: "tick", anchor: "end")
      }
    }
    for tick in frame.xAxis.ticks {
      let at = frame.at(tick, 0)
      svg.line(at, (at.x, at.y + 4), class: "base")
      svg.text(frame.xAxis.label(tick), (at.x, at.y + 18), class: "tick", anchor: "middle")
    }
    for series in panel.series {
      if series.isLevel { level(series, in: frame, into: &svg) }
    }
    for series in panel.series where !series.isLevel { curve(series, in: frame, into: &svg) }
  }

  /// A mode that does not depend on the density: a line from edge to edge.
  private func level(_ series: Series, in frame: Frame, into svg: inout SVG) {
    guard let point = series.points.first else { return }
    let (from, high) = (frame.at(0, point.median), frame.at(0, point.p95))
    let end = frame.x + frame.width
    svg.line((frame.x, high.y), (end, high.y), class: "high \(series.style)")
    svg.line(from, (end, from.y), class: "line \(series.style)")
  }

  private func curve(_ series: Series, in frame: Frame, into svg: inout SVG) {
    let places = series.points.map { frame.at($0.x, $0.median) }
    for (point, place) in zip(series.points, places) {
      svg.line(place, (place.x, frame.at(point.x, point.p95).y), class: "high \(series.style)")
    }
    svg.polyline(places, class: "line \(series.style)")
    for (point, place) in zip(series.points, places) {
      svg.circle(
        place, radius: 4, class: "dot \(series.style)",
        tip: "\(series.name): \(number(point.median)) ms (p95 \(number(point.p95))) at "
          + String(format: "%g", (point.x * 10).rounded() / 10))
    }
  }

  private func number(_ value: Double) -> String {
    String(format: value < 10 ? "%.2f" : "%.1f", value)
  }

  /// Light first; the dark half replaces the colours only.
  private static let style = """
    .ground { fill: #fcfcfb; }
    text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
    .title { font-size: 16px; font-weight: 600; fill: #0b0b0b; }
    .label { fill: #0b0b0b; }
    .note, .tick, .value { fill: #52514e; }
    .value { font-size: 11px; }
    .grid { stroke: #e1e0d9; }
    .base { stroke: #a3a29c; }
    .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
    .high { stroke-width: 1; stroke-opacity: 0.6; }
    .dot { stroke: #fcfcfb; stroke-width: 1.5; }
    .line.dense, .high.dense { stroke: #52514e; } .dot.dense { fill: #52514e; }
    .line.exact, .high.exact { stroke: #d2571f; } .dot.exact { fill: #d2571f; }
    .line.sparse0, .high.sparse0 { stroke: #2a78d6; } .dot.sparse0 { fill: #2a78d6; }
    .line.sparse1, .high.sparse1 { stroke: #17936a; } .dot.sparse1 { fill: #17936a; }
    .line.sparse2, .high.sparse2 { stroke: #7a4fc4; } .dot.sparse2 { fill: #7a4fc4; }
    .line.sparse3, .high.sparse3 { stroke: #b98300; } .dot.sparse3 { fill: #b98300; }
    line.dense.high, line.exact.high { stroke-dasharray: 2 4; }
    @media (prefers-color-scheme: dark) {
    .ground { fill: #1a1a19; }
    .title, .label { fill: #ffffff; }
    .note, .tick, .value { fill: #c3c2b7; }
    .grid { stroke: #2f2f2c; }
    .base { stroke: #6a6963; }
    .dot { stroke: #1a1a19; }
    .line.dense, .high.dense { stroke: #c3c2b7; } .dot.dense { fill: #c3c2b7; }
    .line.exact, .high.exact { stroke: #e8783f; } .dot.exact { fill: #e8783f; }
    .line.sparse0, .high.sparse0 { stroke: #4b96ea; } .dot.sparse0 { fill: #4b96ea; }
    .line.sparse1, .high.sparse1 { stroke: #27b081; } .dot.sparse1 { fill: #27b081; }
    .line.sparse2, .high.sparse2 { stroke: #a98af0; } .dot.sparse2 { fill: #a98af0; }
    .line.sparse3, .high.sparse3 { stroke: #d9a41f; } .dot.sparse3 { fill: #d9a41f; }
    }
    """
}
