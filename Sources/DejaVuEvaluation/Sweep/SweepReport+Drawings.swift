extension SweepReport {
  /// Quality against density, and tasks: the paper's figure and its table.
  var groups: [ReportGroup] {
    var groups: [ReportGroup] = []
    let quality = SweepPart.allCases.compactMap { agreementFigure($0) }
    if !quality.isEmpty {
      groups.append(
        ReportGroup(
          title: "Quality against density",
          note:
            "Through the prompt path, rows chosen at every position; densities are those of the part "
            + "that is named, the other is full.", figures: quality))
    }
    for shots in shots {
      let figures =
        SweepPart.allCases.compactMap { accuracyFigure($0, shots: shots) }
        + [lessonFigure(shots: shots)].compactMap { $0 }
      guard !figures.isEmpty else { continue }
      groups.append(
        ReportGroup(
          title: "Accuracy against density, \(Self.words(shots))", note: informativeNote(shots),
          figures: figures))
    }
    return groups
  }

  private static func words(_ shots: Int) -> String {
    shots == 0 ? "without examples" : "with \(shots) example\(shots == 1 ? "" : "s")"
  }

  private func informative(_ shots: Int) -> [String] {
    rows[0].tasks(shots: shots).filter(\.informative).map(\.task)
  }

  private func informativeNote(_ shots: Int) -> String {
    let tasks = informative(shots)
    let items = limit.map { "up to \($0) items of each" } ?? "all items"
    return tasks.isEmpty
      ? "Dense is within two standard errors of chance on every task (\(items)): nothing here is evidence."
      : "Means over \(tasks.joined(separator: ", ")) (\(items)): on the other tasks dense is within two "
        + "standard errors of chance."
  }

  private static let name = [
    SweepPart.mlp: "neurons", .heads: "heads", .both: "neurons and heads",
  ]

  /// Selectors of a part in the order of the rows; those that learned from a task are apart.
  private func selectors(_ part: SweepPart) -> [String] {
    rows.filter { $0.part == part && !$0.selector.hasPrefix("static, ") }.map(\.selector)
      .reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }

  private func series(
    _ part: SweepPart, _ value: (Int, SweepRow) -> Double?
  ) -> [Chart.Series] {
    selectors(part).map { selector in
      let points = rows.enumerated().compactMap { index, row -> Chart.Point? in
        guard row.part == part, row.selector == selector, let density = row.density.value,
          let value = value(index, row)
        else { return nil }
        return Chart.Point(x: 100 * density, y: 100 * value)
      }
      return Chart.Series(selector, points.sorted { $0.x < $1.x })
    }.filter { !$0.points.isEmpty }
  }

  private func agreementFigure(_ part: SweepPart) -> ReportFigure? {
    let series = Array(
      series(part) { _, row in row.prompt?.sameChoice.value }.prefix(Chart.styles))
    guard let first = series.first?.points.first, let tokens = rows[0].prompt?.tokens else {
      return nil
    }
    let at = series.compactMap { one in
      one.points.first { $0.x == first.x }.map { (one.name, $0.y) }
    }.sorted { $0.1 > $1.1 }
    guard let best = at.first, let worst = at.last else { return nil }
    var table = qualityTable
    table.rows.removeAll { $0[1] != part.rawValue && $0[1] != "-" }
    return ReportFigure(
      title:
        "\(Figure(first.x / 100).percent) of the \(Self.name[part] ?? "rows"): \(best.0) keeps "
        + "\(Figure(best.1 / 100).percent) of the next tokens, \(worst.0) "
        + Figure(worst.1 / 100).percent,
      note: "\(tokens) tokens; perplexity, KL divergence, speed and bytes are in the table.",
      chart: Chart(
        content: .lines(series), xTitle: "\(Self.name[part] ?? "rows") computed (%)",
        yTitle: "same next token as dense (%)", yRange: 0...100), table: table)
  }

  private func accuracyFigure(_ part: SweepPart, shots: Int) -> ReportFigure? {
    let value = { (index: Int, _: SweepRow) in
      self.average(row: index, shots: shots)?.informativeAccuracy.value
    }
    // Random rows guess; their figures are in the table.
    var series = Array(
      series(part, value).filter { $0.name != "random" }.prefix(Chart.styles - 1))
    guard let dense = value(0, rows[0]), let low = series.flatMap(\.points).map(\.x).min(),
      let high = series.flatMap(\.points).map(\.x).max()
    else { return nil }
    // How far down a selector may go and stay within two points of dense.
    let reach = series.compactMap { one -> (String, Double)? in
      let kept = one.points.reversed().prefix { $0.y >= 100 * dense - 2 }
      return kept.last.map { (one.name, $0.x) }
    }.min { $0.1 < $1.1 }
    series.append(
      Chart.Series(
        "dense", [Chart.Point(x: low, y: 100 * dense), Chart.Point(x: high, y: 100 * dense)]))
    var table = taskTable(shots: shots)
    table.rows.removeAll { $0[1] != part.rawValue && $0[1] != "-" }
    return ReportFigure(
      title: reach.map {
        "\($0.0) needs \(Figure($0.1 / 100).percent) of the \(Self.name[part] ?? "rows") to stay within "
          + "two points of dense"
      } ?? "No selector stays within two points of dense with fewer \(Self.name[part] ?? "rows")",
      note: "Mean accuracy over the informative tasks; standard errors are a few points.",
      chart: Chart(
        content: .lines(series), xTitle: "\(Self.name[part] ?? "rows") computed (%)",
        yTitle: "mean accuracy (%)"), table: table)
  }

  /// Static sets that learned from one task, on it and on the others.
  private func lessonFigure(shots: Int) -> ReportFigure? {
    let informative = informative(shots)
    let points = rows.filter { $0.selector.hasPrefix("static, ") }
    guard !points.isEmpty, !informative.isEmpty else { return nil }
    var (own, others): ([Double], [Double]) = ([], [])
    var bars: [Chart.Bar] = []
    for row in points {
      let learned = String(row.selector.dropFirst("static, ".count))
      let found = row.tasks(shots: shots).filter { informative.contains($0.task) }
      own += found.filter { $0.task == learned }.compactMap(\.difference.value)
      let rest = found.filter { $0.task != learned }.compactMap(\.difference.value)
      others += rest
      guard !rest.isEmpty else { continue }
      let mean = rest.reduce(0, +) / Double(rest.count)
      bars.append(
        Chart.Bar(
          name: "\(learned), \(row.part?.rawValue ?? "-") \(row.density.percent)",
          value: max(0, -100 * mean), label: Self.points(mean)))
    }
    guard !others.isEmpty else { return nil }
    let mean = others.reduce(0, +) / Double(others.count)
    let ownMean = own.isEmpty ? nil : own.reduce(0, +) / Double(own.count)
    var table = taskTable(shots: shots)
    table.rows.removeAll { !$0[0].hasPrefix("static") && $0[0] != "dense" }
    return ReportFigure(
      title: "Sets for one task cost the others \(Self.points(mean))"
        + (ownMean.map { ", their own \(Self.points($0))" } ?? ""),
      note:
        "Static sets learn from solved items of the task that is named; accuracy on the other tasks "
        + "less the dense one.",
      chart: Chart(
        content: .bars(bars), xTitle: "accuracy lost on other tasks (points)", yTitle: ""),
      table: table)
  }

  private static func points(_ difference: Double) -> String {
    "\(difference < 0 ? "−" : "+")\(Figure(abs(100 * difference)).text(1)) points"
  }

  /// Few points on tasks: the oracle, and the plan, task by task.
  var taskGroup: ReportGroup? {
    let figures = shots.flatMap { shots in
      rows.dropFirst().compactMap { taskFigure($0, shots: shots) }
    }
    guard !figures.isEmpty else { return nil }
    return ReportGroup(
      title: "Through every task",
      note: "Prompts and scores of \(prompts), rows chosen at every position; "
        + (limit.map { "up to \($0) seeded items" } ?? "all items")
        + " of each task. What is within two standard errors of chance is no evidence, and marked by *.",
      figures: figures)
  }

  private func taskFigure(_ row: SweepRow, shots: Int) -> ReportFigure? {
    let (dense, found) = (rows[0].tasks(shots: shots), row.tasks(shots: shots))
    guard !found.isEmpty else { return nil }
    let bars = zip(dense, found).map { dense, row in
      Chart.Bar(
        name: row.task, value: 100 * (row.accuracy.value ?? 0),
        label: "\(row.accuracy.percent)\(row.informative ? "" : "*"), dense "
          + "\(dense.accuracy.percent)\(dense.informative ? "" : "*")"
      )
    }
    let told = zip(dense, found).filter { $0.0.informative }
    let lost = told.compactMap(\.1.difference.value)
    let name =
      row.selector
      + (row.part.map { " of \(row.density.percent) of the \(Self.name[$0] ?? "rows")" } ?? "")
    let title =
      lost.isEmpty
      ? "No task tells the dense model from chance, so none tells what \(name) costs"
      : "\(name): \(Self.points(lost.reduce(0, +) / Double(lost.count))) of accuracy on the "
        + "\(lost.count) task\(lost.count == 1 ? "" : "s") where dense beats chance"
    return ReportFigure(
      title: title, note: "Accuracy \(Self.words(shots)).",
      chart: Chart(
        content: .bars(bars), xTitle: "accuracy (%)", yTitle: "", yRange: 0...100),
      table: taskTable(shots: shots))
  }
}
