/// What a plan is to achieve.
package enum CalibrationTarget: Hashable, Sendable {
  /// The fewest bytes at no more than this relative increase of perplexity.
  case perplexityIncrease(Double)
  /// The least damage at this share of rows, of heads and neurons together, each row counting by
  /// its bytes.
  case density(Double)
  /// The least damage at these shares of rows by axis; nil leaves an axis as it is.
  case densities(neurons: Double?, heads: Double?)

  var choosesNeurons: Bool {
    if case .densities(neurons: nil, _) = self { false } else { true }
  }

  var choosesHeads: Bool {
    if case .densities(_, heads: nil) = self { false } else { true }
  }

  /// Whether rows are given and damage is what comes out.
  var isDensity: Bool {
    if case .perplexityIncrease = self { false } else { true }
  }
}

/// Why no plan can be made.
package enum CalibrationError: Error, Hashable, Sendable {
  /// Heads are to be chosen, and nothing in the file chooses heads.
  case noHeadPredictors
  /// Even the sparsest choice there is computes more rows.
  case densityTooLow(asked: Double, least: Double, hasHeadPredictors: Bool)
}

extension CalibrationError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .noHeadPredictors:
      "there are no predictors of heads beside the model, so that none can be left out; make them "
        + "with 'dejavu train', or leave --head-density off"
    case .densityTooLow(let asked, let least, let hasHeadPredictors):
      "a density of \(Self.text(asked)) cannot be had: the fewest rows that can be computed are "
        + "\(Self.text(least)) of all; "
        + (hasHeadPredictors
          ? "ask for more"
          : "ask for more, or make predictors of heads with 'dejavu train', without which all "
            + "heads are computed")
    }
  }

  private static func text(_ share: Double) -> String {
    String((share * 1000).rounded(.up) / 1000)
  }
}
