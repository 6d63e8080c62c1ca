import DejaVuModels

/// The figures of one run beside the dense one.
package struct ComparedRow: Codable, Hashable, Sendable {
  package var selector: String
  package var mode: String
  package var perplexity: Figure
  /// Over the dense row, paired by token, and its standard error over windows.
  package var perplexityIncrease: Figure
  package var standardError: Figure
  /// Mean divergence from the dense row's next-token distribution, nats per token.
  package var divergence: Figure
  package var sameChoice: Figure
  /// Of the MLP and its choosers, by those of the dense row.
  package var mlpByteShare: Figure
  package var bytesPerToken: Figure
  package var tokensPerSecond: Figure
  /// Median and 95th percentile of decode steps.
  package var milliseconds: Figure
  package var p95: Figure
  package var speedupOverDense: Figure

  package init(_ run: ComparedRun, against dense: ComparedRun) {
    let increase = run.increase(over: dense)
    func timed(_ value: Double) -> Figure { Figure(run.milliseconds.isEmpty ? nil : value) }
    selector = run.name
    mode = run.mode.rawValue
    perplexity = Figure(exponential(run.meanLoss))
    perplexityIncrease = Figure(small: increase.share)
    standardError = Figure(small: increase.standardError)
    // Rounding may leave a dense run's a hair below nothing.
    divergence = Figure(small: max(run.divergence, 0))
    sameChoice = Figure(run.agreement)
    mlpByteShare = Figure(run.mlpBytesPerToken / max(dense.mlpBytesPerToken, 1))
    bytesPerToken = Figure(run.bytesPerToken)
    tokensPerSecond = timed(run.tokensPerSecond)
    milliseconds = timed(run.medianMilliseconds)
    p95 = timed(run.p95Milliseconds)
    speedupOverDense = timed(dense.medianMilliseconds / max(run.medianMilliseconds, 1e-9))
  }
}
