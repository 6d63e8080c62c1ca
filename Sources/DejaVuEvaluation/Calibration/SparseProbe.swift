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
  package var tally = Tally()

  /// Relative increase of perplexity.
  package var perplexityIncrease: Double { exp(lossIncrease) - 1 }
}

/// Runs windows of text dense once and sparse as often as asked, through the prompt path with the
/// selector acting at every position.
package final class SparseProbe {
  private let engine: Engine
  private let windows: [[TokenID]]
  /// Dense −ln p of the true token, per window and position.
  private var losses: [[Float]] = []
  /// Dense ln p of all tokens, for windows that measure divergence.
  private var distributions: [[Float]] = []
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
    var distribution: [Float] = []
    try session.foretell(window, from: 1, path: .prompt) { index, logits in
      let normalizer = logSumExp(logits)
      losses.append(Float(normalizer - Double(logits[Int(window[index])])))
      if keeps { distribution.append(contentsOf: logits.map { Float(Double($0) - normalizer) }) }
    }
    self.losses.append(losses)
    if keeps { distributions.append(distribution) }
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
    let vocabulary = engine.model.architecture.vocabulary
    for (index, window) in windows.prefix(windowCount ?? windows.count).enumerated() {
      let session = try engine.makeSession(
        capacity: window.count, mode: .sparse, sparsity: sparsity)
      session.tally = Tally()
      try session.foretell(window, from: 1, path: .prompt) { at, logits in
        let normalizer = logSumExp(logits)
        let loss = normalizer - Double(logits[Int(window[at])])
        damage.lossIncrease += loss - Double(losses[index][at - 1])
        damage.tokens += 1
        guard index < divergenceWindows else { return }
        let dense = distributions[index][((at - 1) * vocabulary)..<(at * vocabulary)]
        damage.divergence += divergence(dense: dense, sparse: logits, normalizer: normalizer)
        divergenceTokens += 1
      }
      damage.tally = damage.tally + session.tally
    }
    damage.lossIncrease /= Double(max(damage.tokens, 1))
    damage.divergence /= Double(max(divergenceTokens, 1))
    return damage
  }

  /// Σ p · (ln p − ln q); tokens below e^-16 of certainty are left out.
  private func divergence(
    dense: ArraySlice<Float>, sparse: UnsafeBufferPointer<Float>, normalizer: Double
  ) -> Double {
    var sum = 0.0
    for (p, logit) in zip(dense, sparse) where p > -16 {
      sum += exp(Double(p)) * (Double(p) - (Double(logit) - normalizer))
    }
    return sum
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
