import DejaVuCPU
package import DejaVuCore
package import DejaVuModels

/// Low-rank choosers of random numbers for a synthetic model: for measuring speed, never quality.
///
/// They read and compute what trained ones would, for every layer and token, and their scores
/// choose the rows. A row's score is a random low-rank product of the stream, which changes from
/// token to token, plus its own leaning, which does not:
///
///     score[r] = (product[r] − mean[r]) + α · spread · leaning[r] − threshold
///
/// The greater α, the more rows neighbouring tokens share; rows above 0 are chosen, or a fixed
/// number of the highest. Mean, spread, α and threshold are found in a few decode steps by
/// ``tune(on:)`` and go into the bias.
package struct SyntheticSparsity {
  package struct Options: Hashable, Sendable {
    /// Share of neurons that every layer computes; 1 chooses none and reads them all, 0 leaves the
    /// MLP out.
    package var mlpDensity = 1.0
    /// The same of head groups.
    package var headDensity = 1.0
    /// How scores choose rows: above a threshold that gives the density in the mean, or so many.
    package var rule = RuleKind.threshold
    /// A multiple of 64.
    package var rank = 256
    /// 4 or 8.
    package var bits = 8
    /// Positions whose attention inputs are kept for skipped heads.
    package var window = 16
    /// Share of a token's neurons that the next token should choose again.
    package var mlpOverlap = 0.45
    /// The same of head groups.
    package var headOverlap = 0.6
    /// Where the choosers of neurons look, and those of heads.
    package var neuronPlacement = Placement.afterAttention
    package var headPlacement = Placement.same
    package var seed: UInt64 = 1

    package init() {}
  }

  /// Share of neurons that fire in a synthetic model beside sparse runs: every chosen neuron is
  /// active, so that no down row is skipped by luck.
  package static let reluDensity = 0.999

  /// Rounds of looking at scores and setting biases: what layers choose moves the streams of those
  /// behind them.
  private static let passes = 4
  private static let tokens = 32
  private static let prompt = 64

  package let options: Options
  package let sparsity: Sparsity
  private let choosers: [ChooserSite: SyntheticChooser]

  /// Choosers with the same densities in every layer, the first included; call ``tune(on:)``.
  package init(architecture: Architecture, options: Options) {
    self.options = options
    let kinds: [(RowAxis, Placement, Double, Double, Int)] = [
      (
        .heads, options.headPlacement, options.headDensity, options.headOverlap,
        architecture.kvHeads
      ),
      (
        .neurons, options.neuronPlacement, options.mlpDensity, options.mlpOverlap,
        architecture.neurons
      ),
    ]
    var policies: [RowAxis: RowPolicy] = [:]
    var choosers: [ChooserSite: SyntheticChooser] = [:]
    for (axis, placement, density, overlap, rows) in kinds {
      guard density < 1 else {
        policies[axis] = .all
        continue
      }
      guard density > 0 else {
        policies[axis] = .fixed([])
        continue
      }
      let keep = Self.count(density: density, of: rows)
      let isCounted = options.rule == .count
      policies[axis] = .lowRank(placement, isCounted ? .highest(keep) : .threshold(0))
      for layer in 0..<architecture.layers {
        let site = ChooserSite(layer: layer, axis: axis, kind: .lowRank(placement))
        choosers[site] = SyntheticChooser(
          rows: rows, keep: keep, hidden: architecture.hidden, overlap: overlap, options: options,
          stream: UInt64(2 * layer + (axis == .heads ? 0 : 1)))
      }
    }
    var plan = SparsityPlan.uniform(
      "synthetic", layers: architecture.layers, heads: policies[.heads] ?? .all,
      neurons: policies[.neurons] ?? .all)
    plan.window = options.window
    self.choosers = choosers
    sparsity = Sparsity(plan: plan, choosers: choosers.mapValues(\.weights)).inOneArena()
    for (site, weights) in sparsity.choosers { choosers[site]?.weights = weights }
  }

  /// Rows that a density means: the nearest number, one at least.
  package static func count(density: Double, of rows: Int) -> Int {
    min(max(Int((density * Double(rows)).rounded()), 1), rows)
  }

  /// Decodes a few random tokens and sets the biases, so that neighbouring tokens share as many
  /// rows as was asked for; nothing on a backend without scores.
  package func tune(on engine: Engine) throws(BackendError) {
    guard let backend = engine.cpu, !choosers.isEmpty else { return }
    let architecture = engine.model.architecture
    let count = min(Self.tokens, architecture.context / 2)
    let prompt = min(Self.prompt, architecture.context - count)
    let session = try engine.makeSession(capacity: prompt + count, sparsity: sparsity)
    let tokens = { (stream: Int, count: Int) -> [TokenID] in
      (0..<count).map {
        let draw = Sampler.uniform(
          seed: options.seed &+ UInt64(bitPattern: Int64(stream)) &* 104_729, counter: UInt64($0))
        return TokenID(draw * Double(architecture.vocabulary))
      }
    }
    session.choiceObserver = { site, _ in
      guard let chooser = choosers[site] else { return }
      chooser.note(backend.lastScores(token: 0, rows: chooser.weights.rows))
    }
    var read: Int?
    for pass in 1...Self.passes {
      // The last look is behind another text: what one text's tokens have in common is no leaning.
      let (isLast, text) = (pass == Self.passes, pass == Self.passes ? -1 : 0)
      if read != text {
        session.truncate(to: 0)
        session.mode = .dense
        try session.run(tokens(text, prompt)[...], wanted: .none) { _, _ in }
        read = text
      }
      session.mode = .sparse
      for token in tokens(pass, count) { _ = try session.decode(token) }
      session.truncate(to: prompt)
      for chooser in choosers.values {
        if isLast { chooser.settleThreshold() } else { chooser.solve() }
      }
    }
  }
}
