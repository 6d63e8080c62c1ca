extension ExistenceReport {
  private static let axes = ["neurons", "heads"]

  private func mean(_ figures: [Figure]) -> Figure {
    let values = figures.compactMap(\.value)
    return Figure(values.isEmpty ? nil : values.reduce(0, +) / Double(values.count))
  }

  /// What sets share: (b).
  var sharingGroup: ReportGroup {
    ReportGroup(
      title: "How much of a set stays when the context changes",
      note: "A token's set is its rows of the greatest contributions: "
        + "\(method.neuronDensity.percent) of the neurons, \(method.headDensity.percent) of the "
        + "heads.",
      figures: Self.axes.compactMap(sharingFigure))
  }

  private func sharingFigure(_ axis: String) -> ReportFigure? {
    let rows = sharing.filter { $0.axis == axis }
    guard let first = rows.first else { return nil }
    let sequence = [
      Chart.Series("next token", byLayer: rows.map(\.neighbour), scale: 100),
      Chart.Series("same token elsewhere", byLayer: rows.map(\.sameToken), scale: 100),
      Chart.Series("another token", byLayer: rows.map(\.otherToken), scale: 100),
      Chart.Series("static set", byLayer: rows.map(\.staticSet), scale: 100),
      Chart.Series("chance", byLayer: rows.map(\.density), scale: 100),
    ]
    var table = sharingTable
    table.rows.removeAll { $0.first != axis }
    return ReportFigure(
      title:
        "The same token in another context shares \(mean(rows.map(\.sameToken)).percent) of its "
        + "\(axis), the static set \(mean(rows.map(\.staticSet)).percent)",
      note: "Means over tokens; \(first.sameTokenPairs) pairs of the same token.",
      chart: Chart(
        content: .lines(sequence), xTitle: "layer", yTitle: "rows of the set held again (%)",
        yRange: 0...100), table: table)
  }

  /// Contextual, non-contextual and static sets of one size: (b).
  var selectorGroup: ReportGroup {
    ReportGroup(
      title: "Contextual against non-contextual against static sets of one size",
      note: "Rows are chosen at \(method.neuronDensity.percent) of the neurons or "
        + "\(method.headDensity.percent) of the heads in every layer; the other axis is full.",
      figures: Self.axes.flatMap { [qualityFigure($0), massFigure($0)].compactMap { $0 } })
  }

  private func rows(_ axis: String) -> [SelectorRow] { selectors.filter { $0.axis == axis } }

  private func qualityFigure(_ axis: String) -> ReportFigure? {
    let rows = rows(axis)
    guard let best = rows.first, let fixed = rows.first(where: { $0.selector == "static" }) else {
      return nil
    }
    let bars = rows.map { row in
      Chart.Bar(
        name: row.selector, value: 100 * (row.agreement.value ?? 0),
        label: "\(row.agreement.percent), perplexity \(Self.increase(row))")
    }
    var table = selectorTable
    table.rows.removeAll { $0.first != axis }
    return ReportFigure(
      title:
        "The \(best.selector)'s \(axis) keep \(best.agreement.percent) of the next tokens, static "
        + "\(axis) of the same number \(fixed.agreement.percent)",
      note: "Through decode, on the same tokens as the dense run.",
      chart: Chart(
        content: .bars(bars), xTitle: "same next token as dense", yTitle: "", yRange: 0...100),
      table: table)
  }

  private static func increase(_ row: SelectorRow) -> String {
    guard let value = row.perplexityIncrease.value else { return "-" }
    // Beyond twice as bad, times say more than percent.
    return value >= 1
      ? "× " + Figure(1 + value).text(value >= 9 ? 0 : 1) : Headline.signed(row.perplexityIncrease)
  }

  private func massFigure(_ axis: String) -> ReportFigure? {
    let ways = rows(axis).filter { $0.selector != "nearest" }
    guard let oracle = ways.first, let fixed = ways.first(where: { $0.selector == "static" }) else {
      return nil
    }
    let masses = { (way: String) in
      (0..<model.layers).map { layer in
        selectorLayers.first { $0.axis == axis && $0.selector == way && $0.layer == layer }?
          .coveredMass ?? Figure(nil)
      }
    }
    var table = TextTable([.number("layer")] + ways.map { .number($0.selector) })
    table.rows = (0..<model.layers).map { layer in
      [String(layer)] + ways.map { masses($0.selector)[layer].percent }
    }
    return ReportFigure(
      title: "The \(oracle.selector)'s \(axis) carry \(oracle.coveredMass.percent) of what a token "
        + "adds, a static set \(fixed.coveredMass.percent)",
      note: "Share of each token's contributions, by their norms, that chosen \(axis) carry.",
      chart: Chart(
        content: .lines(
          ways.map { Chart.Series($0.selector, byLayer: masses($0.selector), scale: 100) }),
        xTitle: "layer", yTitle: "contributions covered (%)", yRange: 0...100), table: table)
  }

  /// What to make of nearest rows that cost less than the oracle's.
  private var nearestBeatsOracle: String {
    let rows = rows("neurons")
    guard let nearest = rows.first(where: { $0.selector == "nearest" }),
      let oracle = rows.first(where: { $0.selector == "oracle" }),
      let near = nearest.perplexityIncrease.value, let far = oracle.perplexityIncrease.value,
      near < far
    else { return "" }
    return " Here nearest rows cost \(Self.increase(nearest)) of perplexity and the oracle's "
      + "\(Self.increase(oracle)): the oracle ranks a row by the norm of what it adds alone and carries "
      + "the greatest mass of a set its size, but norms do not say which rows add up and which cancel."
  }

  /// Exact search for nearest rows beside other choosers: (f).
  var nearestGroup: ReportGroup? {
    let rows = rows("neurons")
    guard let nearest = rows.first(where: { $0.selector == "nearest" }),
      let shadow = rows.first(where: { $0.selector == "predicted" })
    else { return nil }
    let bars = rows.map { row in
      Chart.Bar(
        name: row.selector, value: row.milliseconds.value ?? 0,
        label: "\(row.milliseconds.text(2)) ms, \(row.speedup.text(2)) × dense")
    }
    var table = selectorTable
    table.rows.removeAll { $0.first != "neurons" }
    return ReportGroup(
      title: "Nearest rows as the chooser",
      note: "The greatest w · x + b, found by reading all of W1. Oracles read whole blocks to know "
        + "what they choose: they are limits, not ways to be fast." + nearestBeatsOracle,
      figures: [
        ReportFigure(
          title: "Exact search takes \(nearest.milliseconds.text(2)) ms a token at "
            + "\(nearest.recall.percent) recall, the predictor \(shadow.milliseconds.text(2)) ms at "
            + shadow.recall.percent,
          note: "Whole decode steps in turn with dense ones; "
            + "\(method.neuronDensity.percent) of the neurons.",
          chart: Chart(content: .bars(bars), xTitle: "median time of a token (ms)", yTitle: ""),
          table: table)
      ])
  }
}
