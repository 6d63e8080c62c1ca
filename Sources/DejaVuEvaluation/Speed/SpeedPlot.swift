import Foundation

/// What a plot of a benchmark shows: time of a token against the share of neurons computed, a panel
/// for every depth and number of threads; without sparse rows, against the depth.
struct SpeedPlot {
  /// Median and 95th percentile in milliseconds at one place of the x axis.
  struct Point: Hashable {
    let x: Double
    let median: Double
    let p95: Double
  }

  struct Series: Hashable {
    let name: String
    /// What it is drawn as, a class of the style sheet.
    let style: String
    let points: [Point]
    /// A mode without densities: the same everywhere along the x axis.
    let isLevel: Bool
  }

  struct Panel: Hashable {
    let title: String
    let series: [Series]
  }

  let title: String
  let subtitle: String
  let xTitle: String
  /// Rows of panels, one for each number of threads.
  let rows: [[Panel]]

  init(_ report: SpeedReport) {
    let decode = report.decode
    let isSparse = decode.contains { $0.mode == "sparse" }
    title = "\(report.model.shape), \(report.model.dtype), \(report.model.weights) weights"
    subtitle =
      "ms per token: medians of \(report.method.rounds) rounds, thin lines up to the 95th "
      + "percentile · \(report.machine.processor)"
    xTitle = isSparse ? "neurons computed (%)" : "depth (positions)"
    rows = Self.unique(decode.map(\.threads)).map { threads in
      let mine = decode.filter { $0.threads == threads }
      let name = threads == 1 ? "one thread" : "\(threads) threads"
      guard isSparse else { return [Panel(title: name, series: Self.byDepth(mine))] }
      return Self.unique(mine.map(\.depth)).map { depth in
        Panel(
          title: "depth \(depth), \(name)",
          series: Self.byDensity(mine.filter { $0.depth == depth }))
      }
    }
  }

  private static func byDepth(_ rows: [SpeedReport.DecodeRow]) -> [Series] {
    unique(rows.map(\.mode)).map { mode in
      Series(
        name: mode, style: mode,
        points: rows.filter { $0.mode == mode }.compactMap { point($0, x: Double($0.depth)) }
          .sorted { $0.x < $1.x }, isLevel: false)
    }
  }

  private static func byDensity(_ rows: [SpeedReport.DecodeRow]) -> [Series] {
    let levels = rows.filter { $0.mode != "sparse" }.compactMap { row in
      point(row, x: 0).map {
        Series(name: row.mode, style: row.mode, points: [$0], isLevel: true)
      }
    }
    let sparse = rows.filter { $0.mode == "sparse" }
    let heads = unique(sparse.map { $0.headDensity.value ?? 1 }).sorted()
    return levels
      + heads.enumerated().map { index, density in
        Series(
          name: density < 1 ? "sparse, \(percent(density)) of heads" : "sparse, all heads",
          style: "sparse\(index % 4)",
          points: sparse.filter { ($0.headDensity.value ?? 1) == density }
            .compactMap { point($0, x: 100 * ($0.mlpDensity.value ?? 1)) }
            .sorted { $0.x < $1.x }, isLevel: false)
      }
  }

  private static func point(_ row: SpeedReport.DecodeRow, x: Double) -> Point? {
    guard let median = row.milliseconds.median.value, let p95 = row.milliseconds.p95.value else {
      return nil
    }
    return Point(x: x, median: median, p95: p95)
  }

  private static func percent(_ share: Double) -> String { String(format: "%g %%", 100 * share) }

  private static func unique<Value: Hashable>(_ values: [Value]) -> [Value] {
    var seen: Set<Value> = []
    return values.filter { seen.insert($0).inserted }
  }
}

extension SpeedReport {
  /// The report as a drawing.
  package var svg: String { SpeedPlot(self).svg }
}
