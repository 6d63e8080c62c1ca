package import DejaVuCore
package import DejaVuModels

/// One way to run a model beside others, on the same tokens.
package struct ComparedSubject: Sendable {
  package let name: String
  package let mode: RunMode
  /// What a sparse run follows.
  package let sparsity: Sparsity?
  /// Whether keys and values of skipped heads may wait until the head is next chosen.
  package let defersKeys: Bool

  /// A sparse run.
  package init(_ name: String, sparsity: Sparsity, defersKeys: Bool = true) {
    self.init(name: name, mode: .sparse, sparsity: sparsity, defersKeys: defersKeys)
  }

  private init(name: String, mode: RunMode, sparsity: Sparsity?, defersKeys: Bool) {
    self.name = name
    self.mode = mode
    self.sparsity = sparsity
    self.defersKeys = defersKeys
  }

  package static let dense = ComparedSubject(
    name: RunMode.dense.rawValue, mode: .dense, sparsity: nil, defersKeys: true)
  package static let exact = ComparedSubject(
    name: RunMode.exact.rawValue, mode: .exact, sparsity: nil, defersKeys: true)

  /// The same run with keys and values of every head computed at once; nil where no head is skipped
  /// before it is computed.
  package var withEagerKeys: ComparedSubject? {
    guard let sparsity, sparsity.plan.skipsHeads, defersKeys else { return nil }
    return ComparedSubject(name + ", eager keys", sparsity: sparsity, defersKeys: false)
  }
}

/// One run of a comparison: its losses, its speed and its bytes, from the same steps.
package struct ComparedRun: Sendable {
  package let name: String
  package let mode: RunMode
  /// Loss of every scored token, window by window.
  package var losses: [[Double]] = []
  /// Milliseconds of every decode step; none of a run through the prompt path.
  package var milliseconds: [Double] = []
  package var tally = Tally()
  /// Greedy choices equal to the dense run's.
  package var agreements = 0
  /// Σ over tokens of the divergence of the run's next-token distribution from the dense run's, nats.
  package var divergences = 0.0

  package init(mode: RunMode, name: String? = nil) {
    self.mode = mode
    self.name = name ?? mode.rawValue
  }

  package var tokens: Int { losses.reduce(0) { $0 + $1.count } }
  package var meanLoss: Double {
    losses.joined().reduce(0, +) / Double(max(tokens, 1))
  }
  package var tokensPerSecond: Double {
    let total = milliseconds.reduce(0, +)
    return total > 0 ? Double(milliseconds.count) * 1000 / total : 0
  }
  package var medianMilliseconds: Double { Statistics.median(milliseconds) }
  package var p95Milliseconds: Double { Statistics.percentile(milliseconds, 0.95) }
  package var bytesPerToken: Double { Double(tally.bytes) / Double(max(tally.tokens, 1)) }
  /// Bytes of MLP weights and choosers per token.
  package var mlpBytesPerToken: Double {
    Double(tally.mlpWeights + tally.chooser) / Double(max(tally.tokens, 1))
  }
  /// Share of the greedy choices that are the dense run's.
  package var agreement: Double { Double(agreements) / Double(max(tokens, 1)) }

  /// Mean divergence from the dense run's next-token distribution, nats per token.
  package var divergence: Double { divergences / Double(max(tokens, 1)) }

  /// Mean paired difference of loss to `other`, and its standard error over windows.
  package func difference(to other: ComparedRun) -> (mean: Double, standardError: Double) {
    let perWindow = zip(losses, other.losses).map { mine, theirs in
      zip(mine, theirs).reduce(0) { $0 + $1.0 - $1.1 } / Double(max(mine.count, 1))
    }
    let count = Double(max(perWindow.count, 1))
    let mean = perWindow.reduce(0, +) / count
    let squares = perWindow.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    let deviation = count > 1 ? (squares / (count - 1)).squareRoot() : 0
    return (mean, deviation / count.squareRoot())
  }

  /// Relative increase of perplexity over `other`, and its standard error to first order.
  package func increase(over other: ComparedRun) -> (share: Double, standardError: Double) {
    let difference = difference(to: other)
    let ratio = exponential(difference.mean)
    return (ratio - 1, ratio * difference.standardError)
  }

  /// The greatest difference of any token's loss to `other`'s, nats.
  package func greatestDifference(to other: ComparedRun) -> Double {
    zip(losses.joined(), other.losses.joined()).reduce(0) { max($0, abs($1.0 - $1.1)) }
  }
}
