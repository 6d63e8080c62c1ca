import Foundation

extension ExistenceReport {
  /// The least that gives the same tokens, where it lies, and why: (a).
  var twoPassGroup: ReportGroup {
    ReportGroup(
      title: "How few rows give the same next tokens",
      note: "A dense pass records what every head and neuron adds; the same "
        + "\(method.twoPassTokens) tokens are then decoded with only the greatest of each token.",
      figures: [twoPassFigure]
        + [neededFigure, histogram("neurons"), histogram("heads")]
        .compactMap { $0 })
  }

  private var asked: String { Figure(twoPass.agreement).percent }

  private var twoPassFigure: ReportFigure {
    let title: String
    if let row = twoPass.sufficient(.both) {
      title =
        "\(row.parameterShare.percent) of the blocks' weights give the same next token "
        + "\(asked) of the time: \(Figure(row.reduction).text(1)) times fewer"
    } else if let row = twoPass.sufficient(.neurons) {
      title =
        "Neurons can be spared, heads cannot: with all heads, \(row.neuronDensity.percent) of the "
        + "neurons keep \(asked) of the next tokens"
    } else {
      title = "No share that was tried keeps \(asked) of the next tokens"
    }
    let series = TwoPassRow.Kept.allCases.map { kept in
      Chart.Series(
        kept == .both ? "both" : "\(kept.rawValue) alone",
        twoPass.rows(kept).compactMap { row in
          guard let x = row.parameterShare.value, let y = row.agreement.value else { return nil }
          return Chart.Point(x: 100 * x, y: 100 * y)
        }.sorted { $0.x < $1.x })
    }
    return ReportFigure(
      title: title,
      note: "Each mark keeps another share of every token's contributions, by their norms. "
        + "Embeddings and the vocabulary's weights are not counted.",
      chart: Chart(
        content: .lines(series), xTitle: "weights of the blocks that were read (%)",
        yTitle: "same next token (%)"), table: twoPassTable)
  }

  private var neededFigure: ReportFigure? {
    guard let row = twoPass.sufficient(.both) ?? twoPass.rows(.both).last else { return nil }
    let enough = twoPass.sufficient(.both) != nil
    let neurons = row.neuronDensities.enumerated().compactMap { layer, figure in
      figure.value.map { (layer, $0) }
    }
    let most = neurons.max { $0.1 < $1.1 }
    let least = neurons.min { $0.1 < $1.1 }
    return ReportFigure(
      title: "Layer \(most?.0 ?? 0) needs most neurons (\(Figure(most?.1).percent)), layer "
        + "\(least?.0 ?? 0) fewest (\(Figure(least?.1).percent))",
      note: enough
        ? "The fewest rows of both axes together that keep \(asked) of the next tokens."
        : "Rows that carry \(row.keptMass.percent) of the contributions, the most that was tried.",
      chart: Chart(
        content: .lines([
          Chart.Series("neurons", byLayer: row.neuronDensities, scale: 100),
          Chart.Series("heads", byLayer: row.headDensities, scale: 100),
        ]), xTitle: "layer", yTitle: "rows computed (%)", yRange: 0...100), table: layerTable)
  }

  private func histogram(_ axis: String) -> ReportFigure? {
    guard let all = norms.first(where: { $0.axis == axis && $0.layer == nil }),
      let first = all.firstEdge.value, let width = all.binWidth.value
    else { return nil }
    let bins = all.shares.enumerated().compactMap { index, share in
      share.value.map {
        (edge: first + Double(index) * width, share: $0)
      }
    }
    // Empty ends say nothing.
    let used = bins.indices.filter { bins[$0].share > 0 }
    guard let from = used.first, let to = used.last else { return nil }
    let shown = bins[max(from - 1, 0)...min(to + 1, bins.count - 1)]
    var table = TextTable([.number("norm from"), .number("to"), .number("share of outputs")])
    table.rows = shown.map {
      [
        String(format: "%.2g", pow(10, $0.edge)), String(format: "%.2g", pow(10, $0.edge + width)),
        Headline.percent(Figure(small: $0.share)),
      ]
    }
    table.rows.insert(["0", "0", all.zeroShare.percent], at: 0)
    let zero = (all.zeroShare.value ?? 0) >= 0.0005
    return ReportFigure(
      title: (zero ? "\(all.zeroShare.percent) of the \(axis) add exactly nothing, and a" : "A")
        + " tenth of the \(axis) carries \(all.topTenthMass.percent) of what is added",
      note: "Norms of what \(all.rows) \(axis) added to the stream"
        + (zero ? "; zeros are not drawn." : "."),
      chart: Chart(
        content: .lines([
          Chart.Series(
            "all layers", shown.map { Chart.Point(x: $0.edge + width / 2, y: 100 * $0.share) })
        ]), xTitle: "norm (power of ten)", yTitle: "share of outputs (%)"), table: table)
  }
}
