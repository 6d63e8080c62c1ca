import DejaVu
import DejaVuEvaluation
import DejaVuModels

/// Dense, exact and sparse side by side: quality and speed of the same decode steps.
struct ComparisonReport {
  let runs: [ComparedRun]
  let plan: SparsityPlan
  let folder: String
  let loaded: LoadedModel
  let threads: Int
  let windows: Int

  private var dense: ComparedRun { runs[0] }

  var text: String {
    let header = [
      "mode", "perplexity", "against dense", "±", "same choice", "tokens/s", "ms", "p95",
      "speedup", "MB/token", "MLP bytes", "neurons", "heads",
    ]
    let table = [header] + runs.map(cells)
    let widths = header.indices.map { column in table.map { $0[column].count }.max() ?? 0 }
    let rows = table.map { row in
      zip(row, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }
        .joined(separator: "  ")
    }
    let head = [
      "plan '\(plan.name)' on \(folder): \(dense.tokens) tokens of \(windows) windows through "
        + "decode, \(threads) thread\(threads == 1 ? "" : "s"), modes in turn", "",
    ]
    return (head + rows + [""] + PlanTable(plan: plan).lines).joined(separator: "\n")
  }

  private func cells(_ run: ComparedRun) -> [String] {
    let difference = run.difference(to: dense)
    return [
      run.mode.rawValue, Quantity.decimals(exponential(run.meanLoss), 3),
      percent(exponential(difference.mean) - 1, 2), percent(difference.standardError, 2),
      percent(Double(run.agreements) / Double(max(run.tokens, 1)), 1),
      Quantity.decimals(run.tokensPerSecond, 1), Quantity.decimals(run.medianMilliseconds, 2),
      Quantity.decimals(run.p95Milliseconds, 2),
      Quantity.decimals(dense.medianMilliseconds / max(run.medianMilliseconds, 1e-9), 2),
      Quantity.decimals(run.bytesPerToken / 1e6, 1),
      percent(run.mlpBytesPerToken / max(dense.mlpBytesPerToken, 1), 1),
      percent(run.tally.neuronDensity, 1), percent(run.tally.headDensity, 1),
    ]
  }

  private func percent(_ share: Double, _ digits: Int) -> String {
    Quantity.decimals(100 * share, digits) + " %"
  }

  var json: JSONValue {
    [
      "schema": "dejavu/eval-plan/1", "model": .text(folder),
      "fingerprint": .text(loaded.fingerprint), "synthetic": .bool(loaded.isSynthetic),
      "plan": .text(plan.name), "threads": .whole(threads), "windows": .whole(windows),
      "tokens": .whole(dense.tokens), "rows": .array(runs.map(row)),
      "layers": .array(PlanTable(plan: plan).rows),
    ]
  }

  private func row(_ run: ComparedRun) -> JSONValue {
    let difference = run.difference(to: dense)
    return [
      "mode": .text(run.mode.rawValue), "perplexity": .real(exponential(run.meanLoss)),
      "nll": .real(run.meanLoss), "perplexity_increase": .real(exponential(difference.mean) - 1),
      "standard_error": .real(difference.standardError),
      "same_choice": .real(Double(run.agreements) / Double(max(run.tokens, 1))),
      "tokens_per_second": .real(run.tokensPerSecond),
      "ms_per_token": ["median": .real(run.medianMilliseconds), "p95": .real(run.p95Milliseconds)],
      "speedup_over_dense": .real(
        dense.medianMilliseconds / max(run.medianMilliseconds, 1e-9)),
      "bytes_per_token": .real(run.bytesPerToken),
      "byte_share": .real(run.tally.weightShare(of: loaded.model)),
      "mlp_byte_share": .real(run.mlpBytesPerToken / max(dense.mlpBytesPerToken, 1)),
      "mlp_density": .real(run.tally.neuronDensity), "head_density": .real(run.tally.headDensity),
    ]
  }
}
