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
  let threads: Int
  let windows: [[TokenID]]

  private var dense: ComparedRun { runs[0] }
  /// The plan or the last selector, as the one whose layers are shown.
  private var plan: ComparedSubject? { isPlan ? subjects.last : nil }

  // For people --------------------------------------------------------------------------------------

  var text: String {
    let threads = "\(threads) thread\(threads == 1 ? "" : "s")"
    var lines = [
      "\(folder): \(dense.tokens) tokens of \(windows.count) windows through decode, \(threads), "
        + "in turns", "",
    ]
    lines += TextColumns.lines([header] + runs.map(cells))
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
    header.append("same choice")
    if showsSpeed { header += ["tokens/s", "ms", "p95", "speedup", "MB/token"] }
    return header
  }

  /// Whether any run leaves heads out.
  private var showsHeads: Bool { figures.values.contains { $0.total(.heads).density < 1 } }

  private func cells(_ run: ComparedRun) -> [String] {
    let increase = run.increase(over: dense)
    var cells = [
      run.name, Quantity.decimals(exponential(run.meanLoss), 3), percent(increase.share, 2),
      percent(increase.standardError, 2), percent(run.tally.neuronDensity, 1),
      percent(run.tally.headDensity, 1),
      percent(run.mlpBytesPerToken / max(dense.mlpBytesPerToken, 1), 1),
    ]
    cells += self.cells(figures[run.name]?.total(.neurons))
    if showsHeads { cells += self.cells(figures[run.name]?.total(.heads)) }
    cells.append(percent(run.agreement, 1))
    guard showsSpeed else { return cells }
    return cells + [
      Quantity.decimals(run.tokensPerSecond, 1), Quantity.decimals(run.medianMilliseconds, 2),
      Quantity.decimals(run.p95Milliseconds, 2), Quantity.decimals(speedup(run), 2),
      Quantity.decimals(run.bytesPerToken / 1e6, 1),
    ]
  }

  private func cells(_ figures: RowFigures?) -> [String] {
    guard let figures, figures.density < 1 else { return ["-", "-", "-"] }
    return [figures.recall, figures.precision, figures.coveredMass].map { percent($0, 1) }
  }

  private func speedup(_ run: ComparedRun) -> Double {
    dense.medianMilliseconds / max(run.medianMilliseconds, 1e-9)
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
    return [
      "schema": .text(isPlan ? "dejavu/eval-plan/1" : "dejavu/eval-selectors/1"),
      "model": .text(folder), "fingerprint": .text(loaded.fingerprint),
      "dtype": .text(loaded.model.format.name), "synthetic": .bool(loaded.isSynthetic),
      "plan": plan.map { .text($0.name) } ?? .null,
      "threads": .whole(threads), "windows": .whole(windows.count),
      "length": .whole(windows.first?.count ?? 0), "tokens": .whole(dense.tokens),
      "rows": .array(runs.map(row)), "layers": layers,
      "eager_keys": .array(
        eager.map { ["selector": .text($0.name), "greatest_difference": .precise($0.difference)] }),
    ]
  }

  private func row(_ run: ComparedRun) -> JSONValue {
    let increase = run.increase(over: dense)
    func timed(_ value: Double) -> JSONValue { showsSpeed ? .real(value) : .null }
    return [
      "selector": .text(run.name), "mode": .text(run.mode.rawValue),
      "perplexity": .real(exponential(run.meanLoss)), "nll": .real(run.meanLoss),
      "perplexity_increase": .precise(increase.share),
      "standard_error": .precise(increase.standardError), "same_choice": .real(run.agreement),
      "tokens_per_second": timed(run.tokensPerSecond),
      "ms_per_token": [
        "median": timed(run.medianMilliseconds), "p95": timed(run.p95Milliseconds),
      ],
      "speedup_over_dense": timed(speedup(run)), "bytes_per_token": .real(run.bytesPerToken),
      "byte_share": .real(run.tally.weightShare(of: loaded.model)),
      "mlp_byte_share": .real(run.mlpBytesPerToken / max(dense.mlpBytesPerToken, 1)),
      "mlp_density": .real(run.tally.neuronDensity), "head_density": .real(run.tally.headDensity),
      "neurons": LayerTable.members(figures[run.name]?.total(.neurons)),
      "heads": LayerTable.members(figures[run.name]?.total(.heads)),
    ]
  }
}
