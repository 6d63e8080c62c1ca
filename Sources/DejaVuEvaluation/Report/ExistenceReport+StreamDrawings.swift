extension ExistenceReport {
  private func median(_ figures: [Figure]) -> Figure { Spread(figures.compactMap(\.value)).median }

  /// How slowly the stream turns, and why: (c).
  var driftGroup: ReportGroup {
    guard !drift.isEmpty else { return ReportGroup(title: "", figures: []) }
    let later = drift.dropFirst()
    let cosine = median((later.isEmpty ? drift[...] : later).map(\.layerCosine))
    let share = median(
      drift.map { row in
        guard let norm = row.streamNorm.value, norm > 0, let added = row.mlpNorm.value else {
          return Figure(nil)
        }
        return Figure(added / norm)
      })
    return ReportGroup(
      title: "How slowly the stream changes",
      note: "Means over tokens, in float32; it is why a layer's rows can be foretold from an "
        + "earlier stream.",
      figures: [
        ReportFigure(
          title: "Behind layer 0 the stream goes through a layer with a median cosine of "
            + cosine.text(3),
          note: "Cosine of the stream before and behind each part.",
          chart: Chart(
            content: .lines(
              [
                Chart.Series("around attention", byLayer: drift.map(\.attentionCosine)),
                Chart.Series("around MLP", byLayer: drift.map(\.mlpCosine)),
                Chart.Series("around layer", byLayer: drift.map(\.layerCosine)),
              ].filter { !$0.points.isEmpty }), xTitle: "layer", yTitle: "cosine", yRange: 0...1),
          table: driftTable),
        ReportFigure(
          title: "What an MLP adds has \(share.text(2)) of the stream's norm in the middle layer",
          note: "Norms of the stream at a layer's input, and of what its parts add.",
          chart: Chart(
            content: .lines(
              [
                Chart.Series("stream", byLayer: drift.map(\.streamNorm)),
                Chart.Series("attention adds", byLayer: drift.map(\.attentionNorm)),
                Chart.Series("MLP adds", byLayer: drift.map(\.mlpNorm)),
              ].filter { !$0.points.isEmpty }), xTitle: "layer", yTitle: "norm", yRange: 0...1),
          table: driftTable),
      ])
  }

  /// What heads do to distances, and how uniform they are: (d).
  var headGroup: ReportGroup {
    guard !clustering.isEmpty else { return ReportGroup(title: "", figures: []) }
    let ratios = clustering.compactMap(\.distanceRatio.value)
    let drawn = ratios.filter { $0 < 0.5 }.count
    let uniform = clustering.filter(\.isUniform).count
    var table = TextTable([
      .number("layer"), .number("head"), .number("before"), .number("behind"), .number("ratio"),
      .number("entropy"),
    ])
    table.rows = clustering.map {
      [
        String($0.layer), String($0.head), $0.distanceBefore.text(3), $0.distanceAfter.text(3),
        $0.distanceRatio.text(3), $0.entropy.text(3),
      ]
    }
    return ReportGroup(
      title: "Heads that draw tokens together, and heads that look everywhere",
      note: "Attention as mean shift: \(method.attentionTokens) tokens, positions from the 16th "
        + "on.",
      figures: [
        ReportFigure(
          title: "\(drawn) of \(clustering.count) heads at least halve the distance between tokens",
          note: "Mean distance of two tokens behind a head's attention, by that in its value "
            + "projection before. Each mark is a head.",
          chart: heads("distance behind over before", \.distanceRatio), table: table),
        ReportFigure(
          title: "\(uniform) of \(clustering.count) heads weigh all positions nearly alike",
          note: "Entropy of a head's weights by that of equal ones; from 0.9 on a head counts as "
            + "uniform.",
          chart: heads("entropy (1: uniform)", \.entropy), table: table),
      ])
  }

  private func heads(_ title: String, _ figure: KeyPath<ClusteringRow, Figure>) -> Chart {
    let marks = clustering.compactMap { row in
      row[keyPath: figure].value.map { Chart.Point(x: Double(row.layer), y: $0) }
    }
    let middle = (0..<model.layers).map { layer in
      median(clustering.filter { $0.layer == layer }.map { $0[keyPath: figure] })
    }
    return Chart(
      content: .marks([
        Chart.Series("a head", marks), Chart.Series("median of the layer", byLayer: middle),
      ]), xTitle: "layer", yTitle: title, yRange: 0...1)
  }

  /// How good a plan's choosers are: (e).
  var chooserGroup: ReportGroup? {
    guard let plan = choosers.first else { return nil }
    let figures = ["neurons", "heads"].compactMap { axis -> ReportFigure? in
      let rows = plan.rows.filter { $0.axis == axis }
      guard !rows.isEmpty else { return nil }
      let series = { (name: String, figure: KeyPath<ChooserRow, Figure>) in
        Chart.Series(
          name,
          rows.compactMap { row in
            row[keyPath: figure].value.map { Chart.Point(x: Double(row.layer), y: 100 * $0) }
          })
      }
      var table = chooserTable
      table.rows.removeAll { $0.first != axis }
      let bytes = rows.reduce(0) { $0 + $1.bytes }
      return ReportFigure(
        title: "Choosers of \(axis) find \(median(rows.map(\.recall)).percent) of the rows that an "
          + "oracle would take, with \(median(rows.map(\.coveredMass)).percent) of the contributions",
        note: "Medians of \(rows.count) layers; all choosers together read "
          + "\(Figure(Double(bytes) / 1e6).text(2)) MB a token.",
        chart: Chart(
          content: .lines([
            series("recall", \.recall), series("precision", \.precision),
            series("contributions covered", \.coveredMass), series("density", \.density),
          ]), xTitle: "layer", yTitle: "share (%)", yRange: 0...100), table: table)
    }
    return ReportGroup(
      title: "How good the choosers of plan \(plan.plan) are",
      note: "Against the oracle's sets of the same size, on this text.", figures: figures)
  }
}
