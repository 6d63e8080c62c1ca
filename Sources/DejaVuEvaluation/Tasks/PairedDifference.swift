import DejaVuCore

/// How far two runs differ on the same items, by a paired bootstrap: items are drawn with their
/// differences, so that what both runs find hard counts for neither.
package struct PairedDifference: Hashable, Sendable {
  package let items: Int
  /// Mean of the first run less that of the second.
  package let mean: Double
  /// Between these lie 95 % of the resampled means.
  package let lowest: Double
  package let highest: Double

  private static let samples = 10_000

  /// - Parameters:
  ///   - first: a value for each item.
  ///   - second: the values of the same items in the other run.
  ///   - seed: of the samples.
  package init(_ first: [Double], _ second: [Double], seed: UInt64 = 1) {
    precondition(first.count == second.count, "\(first.count) items against \(second.count)")
    let differences = zip(first, second).map { $0 - $1 }
    items = differences.count
    let count = Double(max(differences.count, 1))
    mean = differences.reduce(0, +) / count
    guard differences.contains(where: { $0 != differences[0] }) else {
      (lowest, highest) = (mean, mean)
      return
    }
    var generator = SplitMix64(state: seed)
    let means = (0..<Self.samples).map { _ in
      var sum = 0.0
      for _ in differences { sum += differences[generator.index(differences.count)] }
      return sum / count
    }
    lowest = Statistics.percentile(means, 0.025)
    highest = Statistics.percentile(means, 0.975)
  }
}
