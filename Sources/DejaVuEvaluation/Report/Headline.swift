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
  package var rows: [ComparedRow]

  /// - Parameters:
  ///   - runs: of ``PlanEvaluation``, the dense one first.
  ///   - plan: the plan's name.
  ///   - windows: what was decoded.
  ///   - threads: that computed.
  package init(runs: [ComparedRun], plan: String, windows: [[TokenID]], threads: Int) {
    (self.plan, self.threads) = (plan, threads)
    (self.windows, length) = (windows.count, windows.first?.count ?? 0)
    tokens = runs.first?.tokens ?? 0
    rows = runs.map { ComparedRow($0, against: runs[0]) }
  }
}
