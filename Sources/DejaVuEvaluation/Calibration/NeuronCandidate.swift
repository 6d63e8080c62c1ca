package import DejaVuModels

/// One way to choose a layer's neurons, with what it costs and what it damages.
package struct NeuronCandidate: Sendable {
  package let policy: RowPolicy
  /// Share of the layer's MLP bytes that a token reads, chooser included.
  package let byteShare: Double
  /// Estimated divergence that the choice adds, nats per token.
  package var divergence: Double
  package let mass: Double
  package let density: Double
  package let recall: Double
  package let precision: Double

  /// What a plan keeps of it.
  var measured: [String: Double] {
    [
      "byte_share": byteShare, "divergence": divergence, "covered_mass": mass,
      "density": density, "recall": recall, "precision": precision,
    ]
  }

  package init(
    policy: RowPolicy, byteShare: Double, divergence: Double, mass: Double, density: Double,
    recall: Double, precision: Double
  ) {
    self.policy = policy
    self.byteShare = byteShare
    self.divergence = divergence
    self.mass = mass
    self.density = density
    self.recall = recall
    self.precision = precision
  }
}

/// Finds, among each layer's candidates, those with the least bytes for a total divergence.
package enum CandidateSearch {
  /// The candidates that minimise Σ bytes + price · Σ divergence.
  package static func choose(
    _ layers: [[NeuronCandidate]], price: Double
  ) -> [NeuronCandidate] {
    layers.compactMap { candidates in
      candidates.min {
        $0.byteShare + price * $0.divergence < $1.byteShare + price * $1.divergence
      }
    }
  }

  /// The cheapest choice whose summed divergence stays within `budget`, by bisection of the price.
  package static func choose(
    _ layers: [[NeuronCandidate]], budget: Double
  ) -> [NeuronCandidate] {
    var (low, high) = (1e-3, 1e6)
    for _ in 0..<60 {
      let price = (low * high).squareRoot()
      let total = choose(layers, price: price).reduce(0) { $0 + $1.divergence }
      if total > budget { low = price } else { high = price }
    }
    let chosen = choose(layers, price: high)
    guard chosen.reduce(0, { $0 + $1.divergence }) > budget else { return chosen }
    // No price was high enough: the least damage there is.
    return layers.compactMap { candidates in
      candidates.min { ($0.divergence, $0.byteShare) < ($1.divergence, $1.byteShare) }
    }
  }
}
