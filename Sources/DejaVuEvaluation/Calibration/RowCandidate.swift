package import DejaVuModels

/// One way to choose a layer's rows on one axis, with what it costs and what it damages.
package struct RowCandidate: Sendable {
  package let policy: RowPolicy
  /// Share of the layer's bytes on this axis that a token reads, chooser included.
  package let byteShare: Double
  /// What reading everything on this axis costs, by which shares of different axes are compared.
  package let weight: Double
  /// Estimated divergence that the choice adds, nats per token.
  package var divergence: Double
  /// Share of the output's mass that the chosen rows carry.
  package let mass: Double
  /// Share of rows that are chosen.
  package let density: Double
  /// Share of the rows that are not zero that are chosen, and share of them among the chosen.
  package let recall: Double
  package let precision: Double

  package init(
    policy: RowPolicy, byteShare: Double, weight: Double = 1, divergence: Double, mass: Double,
    density: Double, recall: Double, precision: Double
  ) {
    self.policy = policy
    self.byteShare = byteShare
    self.weight = weight
    self.divergence = divergence
    self.mass = mass
    self.density = density
    self.recall = recall
    self.precision = precision
  }

  /// Bytes, in units of `weight`.
  package var cost: Double { byteShare * weight }

  /// What a plan keeps of it, under names that begin with `prefix`.
  func measured(prefix: String) -> [String: Double] {
    let figures = [
      "byte_share": byteShare, "divergence": divergence, "covered_mass": mass,
      "density": density, "recall": recall, "precision": precision,
    ]
    return Dictionary(uniqueKeysWithValues: figures.map { (prefix + $0.key, $0.value) })
  }
}

/// Finds one candidate for every slot, a slot being an axis of a layer.
package enum CandidateSearch {
  /// The candidates that minimise Σ cost + price · Σ divergence.
  package static func choose(_ slots: [[RowCandidate]], price: Double) -> [RowCandidate] {
    least(slots) { $0.cost + price * $0.divergence }
  }

  private static func least(
    _ slots: [[RowCandidate]], _ value: (RowCandidate) -> Double
  ) -> [RowCandidate] {
    slots.compactMap { candidates in
      let values = candidates.map(value)
      return values.indices.min { values[$0] < values[$1] }.map { candidates[$0] }
    }
  }

  /// The cheapest choice whose summed divergence stays within `budget`.
  package static func choose(_ slots: [[RowCandidate]], budget: Double) -> [RowCandidate] {
    let isWithin = { (chosen: [RowCandidate]) in
      chosen.reduce(0) { $0 + $1.divergence } <= budget
    }
    let price = boundary { !isWithin(choose(slots, price: $0)) }.above
    let chosen = choose(slots, price: price)
    guard !isWithin(chosen) else { return chosen }
    // No price was high enough: the least damage there is.
    return slots.compactMap { candidates in
      candidates.min { ($0.divergence, $0.cost) < ($1.divergence, $1.cost) }
    }
  }

  /// The choice of least damage whose mean density, weighed by bytes, stays within `density`.
  ///
  /// Bytes that are read decide a little: of choosers that are equally good the cheaper one is
  /// taken. Rows that are left when nothing does damage any more go where most are left out.
  package static func choose(_ slots: [[RowCandidate]], density: Double) -> [RowCandidate] {
    let choose = { (price: Double) in
      least(slots) { candidate in
        let cost = (0.8 * candidate.density + 0.2 * candidate.byteShare) * candidate.weight
        let rest = 1e-9 * (1 - candidate.density) * (1 - candidate.density)
        return cost + price * (candidate.divergence + rest)
      }
    }
    let isWithin = { (chosen: [RowCandidate]) in meanDensity(chosen) <= density }
    let chosen = choose(boundary { isWithin(choose($0)) }.below)
    guard !isWithin(chosen) else { return chosen }
    // Even the fewest bytes are too many rows: the fewest rows there are.
    return slots.compactMap { candidates in
      candidates.min { ($0.density, $0.cost) < ($1.density, $1.cost) }
    }
  }

  /// Rows chosen by rows there are, each counting by its bytes.
  package static func meanDensity(_ chosen: [RowCandidate]) -> Double {
    let weight = chosen.reduce(0) { $0 + $1.weight }
    return chosen.reduce(0) { $0 + $1.density * $1.weight } / max(weight, .leastNonzeroMagnitude)
  }

  /// Two prices close together, between which `isBelow` turns from true to false.
  private static func boundary(_ isBelow: (Double) -> Bool) -> (below: Double, above: Double) {
    var (low, high) = (1e-6, 1e12)
    for _ in 0..<100 {
      let price = (low * high).squareRoot()
      if isBelow(price) { low = price } else { high = price }
    }
    return (low, high)
  }
}
