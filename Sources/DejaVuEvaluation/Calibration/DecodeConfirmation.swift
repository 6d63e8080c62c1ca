package import DejaVu
package import DejaVuCore
package import DejaVuModels

/// What a plan costs and reads when the same text is decoded, real deferred keys included.
package struct Confirmation: Sendable {
  /// Mean increase of −ln p of the true next token, nats, and its standard error over windows.
  package var lossIncrease = 0.0
  package var standardError = 0.0
  package var windowIncreases: [Double] = []
  package var tokens = 0
  /// Bytes by those of dense steps: of the MLP with its choosers, and of all weights.
  package var mlpByteShare = 0.0
  package var byteShare = 0.0
  package var mlpDensity = 0.0
  package var headDensity = 0.0

  /// Decodes windows dense and under `sparsity`.
  ///
  /// - Parameters:
  ///   - sparsity: the plan with its choosers.
  ///   - engine: the model.
  ///   - windows: tokens of each, a first token included.
  ///   - progress: called with each window that is through.
  /// - Throws: ``BackendError``.
  package init(
    _ sparsity: Sparsity, engine: Engine, windows: [[TokenID]], progress: (Int) -> Void = { _ in }
  ) throws(BackendError) {
    var tallies: [RunMode: Tally] = [.dense: Tally(), .sparse: Tally()]
    for (index, window) in windows.enumerated() {
      var means: [RunMode: Double] = [:]
      for mode in [RunMode.dense, .sparse] {
        let session = try engine.makeSession(
          capacity: window.count, mode: mode, sparsity: sparsity)
        session.tally = Tally()
        var loss = 0.0
        try session.foretell(window, from: 1, path: .decode) { at, logits in
          loss += logSumExp(logits) - Double(logits[Int(window[at])])
        }
        tallies[mode] = (tallies[mode] ?? Tally()) + session.tally
        means[mode] = loss / Double(max(window.count - 1, 1))
      }
      windowIncreases.append((means[.sparse] ?? 0) - (means[.dense] ?? 0))
      tokens += window.count - 1
      progress(index + 1)
    }
    let (dense, sparse) = (tallies[.dense] ?? Tally(), tallies[.sparse] ?? Tally())
    // What heads' choosers read counts with all weights, not with the MLP.
    mlpByteShare =
      Double(sparse.mlpWeights + Self.neuronChooserBytes(sparsity) * sparse.tokens)
      / Double(max(dense.mlpWeights, 1))
    byteShare = sparse.weightShare(of: engine.model)
    (mlpDensity, headDensity) = (sparse.neuronDensity, sparse.headDensity)
    spread()
  }

  private static func neuronChooserBytes(_ sparsity: Sparsity) -> Int {
    sparsity.plan.layers.enumerated().reduce(0) { sum, entry in
      guard let kind = entry.element.neurons.chooser?.kind else { return sum }
      let site = ChooserSite(layer: entry.offset, axis: .neurons, kind: kind)
      return sum + (sparsity.choosers[site]?.byteCount ?? 0)
    }
  }

  private mutating func spread() {
    let count = Double(max(windowIncreases.count, 1))
    lossIncrease = windowIncreases.reduce(0, +) / count
    let squares = windowIncreases.reduce(0) {
      $0 + ($1 - lossIncrease) * ($1 - lossIncrease)
    }
    standardError = count > 1 ? (squares / (count - 1)).squareRoot() / count.squareRoot() : 0
  }
}
