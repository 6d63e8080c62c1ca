package import DejaVu
package import DejaVuCore
package import DejaVuModels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// What a sparse run costs against a dense one on the same tokens.
package struct Damage: Hashable, Sendable {
  /// Mean increase of −ln p of the true next token, nats.
  package var lossIncrease = 0.0
  /// Mean divergence of the sparse next-token distribution from the dense one, nats.
  package var divergence = 0.0
  package var tokens = 0
  /// The increase of each window.
  package var windowIncreases: [Double] = []
  package var tally = Tally()

  /// What a plan is held to, nats: the greater of both.
  ///
  /// On a few thousand tokens the loss scatters by more than the least losses that are asked for; the
  /// divergence, which is what a longer text loses on average, hardly does.
  package var cost: Double { max(lossIncrease, divergence) }

  /// Relative increase of perplexity.
  package var perplexityIncrease: Double { exp(lossIncrease) - 1 }
}

/// What a run foretold: p of every token of the vocabulary, by window and position.
package struct ReferenceRun: Sendable {
  fileprivate var windows: [[Position]] = []

  struct Position: Sendable {
    let probabilities: [Float]
    /// Σ p and Σ p · ln p, of the rounded p.
    let sum: Double
    let negativeEntropy: Double

    init(_ logits: UnsafeBufferPointer<Float>) {
      let normalizer = logSumExp(logits)
      // Below e^-16 nothing is certain enough to matter.
      probabilities = logits.map {
        let logarithm = Double($0) - normalizer
        return logarithm > -16 ? Float(exp(logarithm)) : 0
      }
      var (sum, negativeEntropy) = (0.0, 0.0)
      for p in probabilities where p > 0 {
        sum += Double(p)
        negativeEntropy += Double(p) * log(Double(p))
      }
      (self.sum, self.negativeEntropy) = (sum, negativeEntropy)
    }

    /// Σ p · (ln p − ln q), q being the softmax of `logits`.
    func divergence(_ logits: UnsafeBufferPointer<Float>, normalizer: Double) -> Double {
      var product = 0.0
      for (p, logit) in zip(probabilities, logits) { product += Double(p) * Double(logit) }
      return negativeEntropy - product + normalizer * sum
    }
  }
}

/// Runs windows of text dense once and sparse as often as asked, through the prompt path with the
/// selector acting at every position.
package final class SparseProbe {
  private let engine: Engine
  private let windows: [[TokenID]]
  /// Dense −ln p of the true token, per window and position.
  private var losses: [[Float]] = []
  /// For windows that measure divergence.
  private var dense = ReferenceRun()
  private let divergenceWindows: Int

  package init(
    engine: Engine, windows: [[TokenID]], divergenceWindows: Int
  ) throws(BackendError) {
    self.engine = engine
    self.windows = windows
    self.divergenceWindows = min(divergenceWindows, windows.count)
    for (index, window) in windows.enumerated() {
      try runDense(window, keeps: index < divergenceWindows)
    }
  }

  private func runDense(_ window: [TokenID], keeps: Bool) throws(BackendError) {
    let session = try engine.makeSession(capacity: window.count)
    var losses: [Float] = []
    var positions: [ReferenceRun.Position] = []
    try session.foretell(window, from: 1, path: .prompt) { index, logits in
      losses.append(Float(logSumExp(logits) - Double(logits[Int(window[index])])))
      if keeps { positions.append(.init(logits)) }
    }
    self.losses.append(losses)
    if keeps { dense.windows.append(positions) }
  }

  /// What `sparsity` foretells, for others to be held against.
  ///
  /// - Throws: ``BackendError``.
  package func reference(of sparsity: Sparsity) throws(BackendError) -> ReferenceRun {
    var reference = ReferenceRun()
    for window in windows.prefix(divergenceWindows) {
      let session = try engine.makeSession(
        capacity: window.count, mode: .sparse, sparsity: sparsity)
      var positions: [ReferenceRun.Position] = []
      try session.foretell(window, from: 1, path: .prompt) { positions.append(.init($1)) }
      reference.windows.append(positions)
    }
    return reference
  }

  /// Mean divergence of `sparsity` from another run of the same windows, nats.
  ///
  /// - Throws: ``BackendError``.
  package func divergence(
    of sparsity: Sparsity, from reference: ReferenceRun
  ) throws(BackendError) -> Double {
    var (sum, tokens) = (0.0, 0)
    for (window, positions) in zip(windows, reference.windows) {
      let session = try engine.makeSession(
        capacity: window.count, mode: .sparse, sparsity: sparsity)
      try session.foretell(window, from: 1, path: .prompt) { at, logits in
        sum += positions[at - 1].divergence(logits, normalizer: logSumExp(logits))
        tokens += 1
      }
    }
    return sum / Double(max(tokens, 1))
  }

  /// Mean dense loss per token, nats.
  package var denseLoss: Double {
    let all = losses.joined()
    return all.reduce(0.0) { $0 + Double($1) } / Double(max(all.count, 1))
  }

  /// Damage of `sparsity`.
  ///
  /// - Parameters:
  ///   - sparsity: the plan, with its choosers.
  ///   - windowCount: the first so many windows; nil means all.
  /// - Returns: means over the tokens of these windows.
  /// - Throws: ``BackendError``.
  package func damage(
    of sparsity: Sparsity, windowCount: Int? = nil
  ) throws(BackendError) -> Damage {
    var damage = Damage()
    var divergenceTokens = 0
    for (index, window) in windows.prefix(windowCount ?? windows.count).enumerated() {
      let session = try engine.makeSession(
        capacity: window.count, mode: .sparse, sparsity: sparsity)
      session.tally = Tally()
      var increase = 0.0
      try session.foretell(window, from: 1, path: .prompt) { at, logits in
        let normalizer = logSumExp(logits)
        let loss = normalizer - Double(logits[Int(window[at])])
        increase += loss - Double(losses[index][at - 1])
        damage.tokens += 1
        guard index < divergenceWindows else { return }
        damage.divergence += dense.windows[index][at - 1]
          .divergence(logits, normalizer: normalizer)
        divergenceTokens += 1
      }
      damage.lossIncrease += increase
      damage.windowIncreases.append(increase / Double(max(window.count - 1, 1)))
      damage.tally = damage.tally + session.tally
    }
    damage.lossIncrease /= Double(max(damage.tokens, 1))
    damage.divergence /= Double(max(divergenceTokens, 1))
    return damage
  }
}

extension Tally {
  static func + (left: Tally, right: Tally) -> Tally {
    var sum = left
    sum.tokens += right.tokens
    sum.attentionWeights += right.attentionWeights
    sum.mlpWeights += right.mlpWeights
    sum.headWeights += right.headWeights
    sum.embedding += right.embedding
    sum.cache += right.cache
    sum.chooser += right.chooser
    sum.keptInputs += right.keptInputs
    sum.weightFlops += right.weightFlops
    sum.cacheFlops += right.cacheFlops
    sum.headRows += right.headRows
    sum.headRowsOfAll += right.headRowsOfAll
    sum.neuronRows += right.neuronRows
    sum.neuronRowsOfAll += right.neuronRowsOfAll
    return sum
  }
}
