extension SparsityReport {
  /// The whole page in one file: it refers to nothing outside and needs no script.
  package var html: String {
    let title =
      "Contextual sparsity of " + models.map(\.existence.model.name).joined(separator: ", ")
    let head: [Markup] = [
      .element("meta", [("charset", "utf-8")], []),
      .element(
        "meta", [("name", "viewport"), ("content", "width=device-width, initial-scale=1")], []),
      .element("meta", [("name", "color-scheme"), ("content", "light dark")], []),
      .tag("title", nil, text: title),
      .tag("style", nil, text: Self.style),
    ]
    let body: [Markup] =
      [
        .tag(
          "header", nil, .tag("h1", nil, text: title),
          .tag("p", "note", text: introduction))
      ] + models.enumerated().map(section) + sweeps.enumerated().map(sweepSection)
      + [nearestSection].compactMap { $0 }
      + [
        .tag(
          "footer", nil,
          .tag(
            "p", "note", text: "dejavu report \(version)" + (commit.map { ", commit \($0)" } ?? ""))
        )
      ]
    let page = Markup.element(
      "html", [("lang", "en"), ("xmlns", "http://www.w3.org/1999/xhtml")],
      [.element("head", [], head), .element("body", [], [.element("main", [], body)])])
    return "<!DOCTYPE html>\n" + page.string + "\n"
  }

  private var introduction: String {
    "Every figure comes from the engine's own steps: rows that a way to choose leaves out are not "
      + "read, keys and values of skipped heads wait as they do when text is written. The figures "
      + "of each drawing are in the table beneath it."
  }

  private func section(_ index: Int, _ model: Model) -> Markup {
    let existence = model.existence
    let method = existence.method
    let groups = model.groups
    var parts: [Markup] = [
      .tag("h2", nil, text: existence.model.name),
      .tag(
        "p", "note",
        text: "\(existence.model.layers) layers of \(existence.model.heads) heads and "
          + "\(existence.model.neurons) neurons, \(existence.model.hidden) wide; "
          + "\(method.tokens) tokens in \(method.windows) windows, \(method.lessonTokens) others to "
          + "learn from; \(method.processor); fingerprint \(existence.model.fingerprint)"),
    ]
    if existence.model.synthetic {
      parts.append(
        .tag("p", "warning", text: "Synthetic weights: nothing here is about quality."))
    }
    parts += Self.markup(groups, "m\(index)")
    parts += existence.notes.map { .tag("p", "note", text: "Left out: \($0).") }
    return .element("section", [], parts)
  }

  private static func markup(_ groups: [ReportGroup], _ prefix: String) -> [Markup] {
    groups.enumerated().flatMap { place, group in
      var parts: [Markup] = [.tag("h3", nil, text: group.title)]
      if !group.note.isEmpty { parts.append(.tag("p", "note", text: group.note)) }
      let figures = group.figures.enumerated().map { number, figure in
        figure.markup(identifier: "\(prefix)g\(place)f\(number)")
      }
      parts.append(.element("div", [("class", "figures")], figures))
      return parts
    }
  }

  private func sweepSection(_ index: Int, _ sweep: SweepReport) -> Markup {
    let name = sweep.model.split(separator: "/").last.map(String.init) ?? sweep.model
    var parts: [Markup] = [
      .tag("h2", nil, text: "A sweep of densities: \(name)"),
      .tag(
        "p", "note",
        text: "From 'dejavu eval --sweep'; fingerprint \(sweep.fingerprint), "
          + "\(sweep.machine.processor), \(sweep.machine.threads) threads"
          + (sweep.commit.map { ", commit \($0)" } ?? "")),
    ]
    if sweep.synthetic {
      parts.append(
        .tag("p", "warning", text: "Synthetic weights: nothing here is about quality."))
    }
    parts += Self.markup(sweep.groups, "s\(index)")
    parts += sweep.notes.map { .tag("p", "note", text: "Left out: \($0).") }
    return .element("section", [], parts)
  }

  private var nearestSection: Markup? {
    let figures = nearestRows.filter { !$0.rows.isEmpty }.enumerated().map { index, found in
      Self.figure(found).markup(identifier: "nearest\(index)")
    }
    guard !figures.isEmpty else { return nil }
    return .tag(
      "section", nil, .tag("h2", nil, text: "Approximate search for nearest rows"),
      .element("div", [("class", "figures")], figures))
  }

  private static func figure(_ found: NearestRows) -> ReportFigure {
    let slower = found.rows.filter {
      ($0.msPerQuery.value ?? 0) > ($0.msAllRows.value ?? 0)
    }.count
    let bars = found.rows.map { row in
      Chart.Bar(
        name: "layer \(row.layer), \(row.space), top \(row.top), ef \(row.ef)",
        value: row.msPerQuery.value ?? 0,
        label: "\(row.msPerQuery.text(2)) ms, all of W1 \(row.msAllRows.text(2)) ms")
    }
    let yardsticks = found.rows.first.flatMap { row in
      row.msMlp.flatMap { mlp in
        row.msPredictor.map {
          " The whole MLP takes \(mlp.text(2)) ms, a low-rank predictor \($0.text(2)) ms, both as numpy's "
            + "products in float32."
        }
      }
    }
    return ReportFigure(
      title: "A graph of the rows is slower than multiplying them all in \(slower) of "
        + "\(found.rows.count) searches",
      note: "HNSW (hnswlib) over \(found.neurons) rows of \(found.model), one thread; from "
        + "Scripts/nearest_rows.py." + (yardsticks ?? ""),
      chart: Chart(content: .bars(bars), xTitle: "time of a search (ms)", yTitle: ""),
      table: found.table)
  }
}

/// A drawing whose title says what it shows, and its figures in a table.
struct ReportFigure {
  /// The finding.
  let title: String
  /// How it was measured.
  let note: String
  let chart: Chart
  let table: TextTable

  func markup(identifier: String) -> Markup {
    .tag(
      "figure", nil,
      .tag("figcaption", nil, .tag("h4", nil, text: title), .tag("p", "note", text: note)),
      .drawing(chart.svg(title: title, description: note), identifier: identifier),
      .tag(
        "details", nil, .tag("summary", nil, text: "Figures"),
        .table(table, caption: title)))
  }
}

/// Drawings that answer one question.
struct ReportGroup {
  let title: String
  var note = ""
  let figures: [ReportFigure]
}
