/// What is left of a model's next tokens when only the largest contributions are computed.
package struct TwoPassResult: Codable, Hashable, Sendable {
  /// Share of next tokens that has to stay the same for a set to count as enough.
  package var agreement: Double
  package var rows: [TwoPassRow]

  package init(agreement: Double, rows: [TwoPassRow]) {
    self.agreement = agreement
    self.rows = rows
  }

  /// The rows of one axis, or of both, by ascending kept mass.
  package func rows(_ kept: TwoPassRow.Kept) -> [TwoPassRow] {
    rows.filter { $0.kept == kept }
      .sorted { ($0.keptMass.value ?? 0) < ($1.keptMass.value ?? 0) }
  }

  /// The row of the fewest parameters from which on, with ever more mass, agreement never falls
  /// below what is asked; nil where even the greatest mass changes too many tokens.
  package func sufficient(_ kept: TwoPassRow.Kept) -> TwoPassRow? {
    rows(kept).reversed().prefix { ($0.agreement.value ?? 0) >= agreement }.last
  }
}

/// One share of the contributions, kept on one axis or on both.
package struct TwoPassRow: Codable, Hashable, Sendable {
  /// Which rows were left out; those of the other axis were all computed.
  package enum Kept: String, Codable, Hashable, Sendable, CaseIterable {
    case heads, neurons, both
  }

  package var kept: Kept
  /// Share of every token's contributions, by their norms, that the rows kept carry.
  package var keptMass: Figure
  package var tokens: Int
  /// Share of greedy next tokens that are the dense run's.
  package var agreement: Figure
  /// Mean divergence of the next token's distribution from the dense one, nats.
  package var divergence: Figure
  /// Shares of rows computed, over all layers.
  package var headDensity: Figure
  package var neuronDensity: Figure
  /// Share of the weights of all blocks that the rows computed are.
  package var parameterShare: Figure
  /// By layer.
  package var headDensities: [Figure]
  package var neuronDensities: [Figure]

  package init(
    kept: Kept, keptMass: Figure, tokens: Int, agreement: Figure, divergence: Figure,
    headDensity: Figure, neuronDensity: Figure, parameterShare: Figure, headDensities: [Figure],
    neuronDensities: [Figure]
  ) {
    (self.kept, self.keptMass, self.tokens) = (kept, keptMass, tokens)
    (self.agreement, self.divergence) = (agreement, divergence)
    (self.headDensity, self.neuronDensity) = (headDensity, neuronDensity)
    self.parameterShare = parameterShare
    (self.headDensities, self.neuronDensities) = (headDensities, neuronDensities)
  }

  /// How many times fewer weights: 7 of the paper's 85 %.
  package var reduction: Double? { parameterShare.value.flatMap { $0 > 0 ? 1 / $0 : nil } }
}
