import DejaVu
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels

/// Ways to choose rows side by side: quality and, where asked for, speed of the same decode steps.
struct ComparisonReport {
  /// The dense one first.
  let runs: [ComparedRun]
  /// By the names of sparse runs.
  let figures: [String: SetFigures]
  let subjects: [ComparedSubject]
  /// Whether a stored plan was compared, whose layers are of interest.
  let isPlan: Bool
  let showsSpeed: Bool
  let folder: String
  let loaded: LoadedModel
  let provenance: Provenance
  let path: ScoringPath
  let windows: [[TokenID]]

  private var dense: ComparedRun { runs[0] }
  private var rows: [(run: ComparedRun, figures: ComparedRow)] {
    runs.map { ($0, ComparedRow($0, against: dense)) }
  }
  /// The plan or the last selector, as the one whose layers are shown.
  private var plan: ComparedSubject? { isPlan ? subjects.last : nil }

  // For people --------------------------------------------------------------------------------------

  var text: String {
    let threads = provenance.machine.threads
    var lines = [
      "\(folder): \(dense.tokens) tokens of \(windows.count) windows through \(path.rawValue), "
        + "\(threads) thread\(threads == 1 ? "" : "s"), in turns", "",
    ]
    lines += TextColumns.lines([header] + rows.map(cells))
    lines += [""] + eagerLines
    if let plan, let sparsity = plan.sparsity, let figures = figures[plan.name] {
      lines += LayerTable(sparsity: sparsity, figures: figures, model: loaded.model).lines
    }
    while lines.last == "" { lines.removeLast() }
    return lines.joined(separator: "\n")
  }

  private var header: [String] {
    var header = [
      "selector", "perplexity", "against dense", "±", "neurons", "heads", "MLP bytes", "recall",
      "precision", "mass",
    ]
    if showsHeads { header += ["heads: recall", "precision", "mass"] }
    header += ["KL, nats", "same choice"]
    if showsSpeed { header += ["tokens/s", "ms", "p95", "speedup", "MB/token"] }
    return header
  }

  /// Whether any run leaves heads out.
  private var showsHeads: Bool { figures.values.contains { $0.total(.heads).density < 1 } }

  private func cells(_ run: ComparedRun, _ row: ComparedRow) -> [String] {
    var cells = [
      row.selector, row.perplexity.text(3), Self.percent(row.perplexityIncrease),
      Self.percent(row.standardError), percent(run.tally.neuronDensity, 1),
      percent(run.tally.headDensity, 1), row.mlpByteShare.percent,
    ]
    cells += self.cells(figures[run.name]?.total(.neurons))
    if showsHeads { cells += self.cells(figures[run.name]?.total(.heads)) }
    cells += [row.divergence.text(4), row.sameChoice.percent]
    guard showsSpeed else { return cells }
    return cells + [
      row.tokensPerSecond.text(1), row.milliseconds.text(2), row.p95.text(2),
      row.speedupOverDense.text(2), Quantity.decimals(run.bytesPerToken / 1e6, 1),
    ]
  }

  private static func percent(_ share: Figure) -> String {
    share.value.map { Quantity.decimals(100 * $0, 2) + " %" } ?? "-"
  }

  private func cells(_ figures: RowFigures?) -> [String] {
    guard let figures, figures.density < 1 else { return ["-", "-", "-"] }
    return [figures.recall, figures.precision, figures.coveredMass].map { percent($0, 1) }
  }

  private func percent(_ share: Double, _ digits: Int) -> String {
    Quantity.decimals(100 * share, digits) + " %"
  }

  /// Runs with eager keys beside those that they repeat.
  private var eager: [(name: String, difference: Double)] {
    subjects.compactMap { subject in
      guard let name = subject.withEagerKeys?.name,
        let eager = runs.first(where: { $0.name == name }),
        let deferred = runs.first(where: { $0.name == subject.name })
      else { return nil }
      return (subject.name, deferred.greatestDifference(to: eager))
    }
  }

  private var eagerLines: [String] {
    eager.map { name, difference in
      difference == 0
        ? "\(name): deferred and eager keys give every token the same loss, bit for bit"
        : "\(name): deferred and eager keys differ by up to \(difference) nats on a token"
    }
  }

  /// What a drawing shows of the runs.
  var tradeoff: [TradeoffPlot.Run] {
    runs.map {
      TradeoffPlot.Run(
        name: $0.name, format: loaded.model.format.name, bytesPerToken: $0.bytesPerToken,
        perplexity: exponential($0.meanLoss))
    }
  }

  // For programs ------------------------------------------------------------------------------------

  var json: JSONValue {
    var layers = JSONValue.null
    if let plan, let sparsity = plan.sparsity, let figures = figures[plan.name] {
      layers = .array(LayerTable(sparsity: sparsity, figures: figures, model: loaded.model).rows)
    }
    return .object(
      [
        ("schema", .text(isPlan ? "dejavu/eval-plan/1" : "dejavu/eval-selectors/1")),
        ("model", .text(folder)), ("fingerprint", .text(loaded.fingerprint)),
        ("dtype", .text(loaded.model.format.name)), ("synthetic", .bool(loaded.isSynthetic)),
        ("plan", plan.map { .text($0.name) } ?? .null),
      ] + provenance.members + [
        ("path", .text(path.rawValue)), ("windows", .whole(windows.count)),
        ("length", .whole(windows.first?.count ?? 0)), ("tokens", .whole(dense.tokens)),
        ("rows", .array(rows.map(row))), ("layers", layers),
        (
          "eager_keys",
          .array(
            eager.map {
              ["selector": .text($0.name), "greatest_difference": .precise($0.difference)]
            })
        ),
      ])
  }

  private func row(_ run: ComparedRun, _ row: ComparedRow) -> JSONValue {
    func timed(_ figure: Figure) -> JSONValue { showsSpeed ? Self.number(figure) : .null }
    return [
      "selector": .text(row.selector), "mode": .text(row.mode),
      "perplexity": Self.number(row.perplexity), "nll": .real(run.meanLoss),
      "perplexity_increase": Self.number(row.perplexityIncrease),
      "standard_error": Self.number(row.standardError),
      "divergence": Self.number(row.divergence), "same_choice": Self.number(row.sameChoice),
      "tokens_per_second": timed(row.tokensPerSecond),
      "ms_per_token": ["median": timed(row.milliseconds), "p95": timed(row.p95)],
      "speedup_over_dense": timed(row.speedupOverDense),
      "bytes_per_token": Self.number(row.bytesPerToken),
      "byte_share": .real(run.tally.weightShare(of: loaded.model)),
      "mlp_byte_share": Self.number(row.mlpByteShare),
      "mlp_density": .real(run.tally.neuronDensity), "head_density": .real(run.tally.headDensity),
      "neurons": LayerTable.members(figures[run.name]?.total(.neurons)),
      "heads": LayerTable.members(figures[run.name]?.total(.heads)),
    ]
  }

  private static func number(_ figure: Figure) -> JSONValue {
    figure.value.map { .precise($0) } ?? .null
  }
}
