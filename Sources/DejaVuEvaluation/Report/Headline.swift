package import DejaVu
import DejaVuCore
import DejaVuModels

/// The figure that counts: quality, bytes and speed of dense, exact and planned decoding, from the
/// same steps of trained weights.
package struct Headline: Codable, Hashable, Sendable {
  package var plan: String
  package var threads: Int
  package var windows: Int
  package var length: Int
  package var tokens: Int
  /// The dense one first.
  package var rows: [Row]

  package struct Row: Codable, Hashable, Sendable {
    package var selector: String
    package var mode: String
    package var perplexity: Figure
    /// Over the dense row, paired by token, and its standard error over windows.
    package var perplexityIncrease: Figure
    package var standardError: Figure
    package var sameChoice: Figure
    /// Of the MLP and its choosers, by those of the dense row.
    package var mlpByteShare: Figure
    package var bytesPerToken: Figure
    package var tokensPerSecond: Figure
    /// Median and 95th percentile of decode steps.
    package var milliseconds: Figure
    package var p95: Figure
    package var speedupOverDense: Figure
  }

  /// - Parameters:
  ///   - runs: of ``PlanEvaluation``, the dense one first.
  ///   - plan: the plan's name.
  ///   - windows: what was decoded.
  ///   - threads: that computed.
  package init(runs: [ComparedRun], plan: String, windows: [[TokenID]], threads: Int) {
    (self.plan, self.threads) = (plan, threads)
    (self.windows, length) = (windows.count, windows.first?.count ?? 0)
    tokens = runs.first?.tokens ?? 0
    rows = runs.map { run in
      let dense = runs[0]
      let increase = run.increase(over: dense)
      return Row(
        selector: run.name, mode: run.mode.rawValue,
        perplexity: Figure(exponential(run.meanLoss)),
        perplexityIncrease: Figure(small: increase.share),
        standardError: Figure(small: increase.standardError),
        sameChoice: Figure(run.agreement),
        mlpByteShare: Figure(run.mlpBytesPerToken / max(dense.mlpBytesPerToken, 1)),
        bytesPerToken: Figure(run.bytesPerToken), tokensPerSecond: Figure(run.tokensPerSecond),
        milliseconds: Figure(run.medianMilliseconds), p95: Figure(run.p95Milliseconds),
        speedupOverDense: Figure(
          dense.medianMilliseconds / max(run.medianMilliseconds, 1e-9)))
    }
  }
}
