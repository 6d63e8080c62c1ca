extension SparsityReport.Model {
  /// Every question's drawings, the figure that counts first.
  var groups: [ReportGroup] {
    var groups: [ReportGroup] = []
    if let headline { groups.append(headline.group) }
    groups +=
      [
        existence.twoPassGroup
      ] + [tasks?.taskGroup].compactMap { $0 } + [
        existence.sharingGroup, existence.selectorGroup,
        existence.driftGroup, existence.headGroup,
      ]
    groups += [existence.chooserGroup, existence.nearestGroup].compactMap { $0 }
    return groups.filter { !$0.figures.isEmpty }
  }
}

extension Headline {
  /// Speed and bytes of dense, exact and the plan.
  var group: ReportGroup {
    let sparse = rows.last
    let title =
      "Plan \(plan): \(sparse?.speedupOverDense.text(2) ?? "-") times as fast as dense, perplexity "
      + "\(Self.signed(sparse?.perplexityIncrease)) ± \(Self.percent(sparse?.standardError))"
    let note =
      "\(tokens) tokens in \(windows) windows of \(length) through decode, \(threads) "
      + "thread\(threads == 1 ? "" : "s"), modes in turns of 64 tokens."
    let speed = rows.map { row -> Chart.Bar in
      // By the same median as the ratio: a mean carries every interruption of the machine.
      let rate = Figure(row.milliseconds.value.map { 1000 / max($0, 1e-9) })
      return Chart.Bar(
        name: row.selector, value: rate.value ?? 0,
        label: "\(rate.text(1)) tokens/s, \(row.speedupOverDense.text(2)) ×")
    }
    let bytes = rows.map { row in
      Chart.Bar(
        name: row.selector, value: 100 * (row.mlpByteShare.value ?? 0),
        label: row.mlpByteShare.percent)
    }
    let exact = rows.first { $0.mode == "exact" }?.mlpByteShare.percent ?? "-"
    return ReportGroup(
      title: "The figure that counts",
      note: "Quality and speed from the same steps of the same run.",
      figures: [
        ReportFigure(
          title: title, note: note,
          chart: Chart(
            content: .bars(speed), xTitle: "tokens a second, by the median step", yTitle: ""),
          table: table),
        ReportFigure(
          title: "The plan reads \(sparse?.mlpByteShare.percent ?? "-") of the MLP's bytes, its "
            + "choosers included; leaving out zeros alone reads \(exact)",
          note: note,
          chart: Chart(
            content: .bars(bytes), xTitle: "MLP bytes of a token, of the dense run's", yTitle: "",
            yRange: 0...100), table: table),
      ])
  }

  private var table: TextTable {
    var table = TextTable([
      .word("rows"), .number("perplexity"), .number("against dense"), .number("std. error"),
      .number("KL, nats"), .number("same token"), .number("MLP bytes"), .number("MB a token"),
      .number("tokens/s"),
      .number("ms"), .number("95th"), .number("speed"),
    ])
    table.rows = rows.map { row in
      [
        row.selector, row.perplexity.text(3), Self.signed(row.perplexityIncrease),
        Self.percent(row.standardError), row.divergence.text(4), row.sameChoice.percent,
        row.mlpByteShare.percent,
        Figure((row.bytesPerToken.value ?? 0) / 1e6).text(1), row.tokensPerSecond.text(1),
        row.milliseconds.text(2), row.p95.text(2), row.speedupOverDense.text(2),
      ]
    }
    return table
  }

  static func percent(_ figure: Figure?) -> String {
    figure?.value.map { Figure(100 * $0).text(2) + " %" } ?? "-"
  }

  static func signed(_ figure: Figure?) -> String {
    guard let figure, let value = figure.value else { return "-" }
    return (value < 0 ? "" : "+") + percent(figure)
  }
}
