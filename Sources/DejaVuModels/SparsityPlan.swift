public import DejaVuCore

/// What every layer computes: data, found by calibration for a target and stored by name.
public struct SparsityPlan: Hashable, Sendable {
  /// What the plan is called in its file and by the user.
  public var name: String
  /// Type of the weights that it was calibrated for; another format deserves a plan of its own.
  public var weightFormat: String
  /// Positions whose attention inputs are kept for skipped heads.
  public var window: Int
  /// One for each layer of the model.
  public var layers: [LayerPlan]
  /// What calibration measured: perplexity increase, share of bytes and so on, by name.
  public var measured: [String: Double]

  /// A plan of these parts.
  public init(
    name: String, weightFormat: String, window: Int = 16, layers: [LayerPlan],
    measured: [String: Double] = [:]
  ) {
    self.name = name
    self.weightFormat = weightFormat
    self.window = window
    self.layers = layers
    self.measured = measured
  }

  /// The same policy in every layer.
  public static func uniform(
    _ name: String, layers: Int, heads: RowPolicy = .all, neurons: RowPolicy = .nonzero
  ) -> SparsityPlan {
    SparsityPlan(
      name: name, weightFormat: "any",
      layers: Array(repeating: LayerPlan(heads: heads, neurons: neurons), count: layers))
  }

  /// Whether some layer may skip heads, so that inputs must be kept.
  public var skipsHeads: Bool { layers.contains { $0.heads.choosesRows } }

  /// Whether some layer asks a trained predictor.
  package var asksPredictors: Bool {
    layers.contains { layer in
      [layer.heads, layer.neurons].contains { policy in
        if case .lowRank = policy { true } else { false }
      }
    }
  }
}

/// Who chooses the rows of one layer.
public struct LayerPlan: Hashable, Sendable {
  /// Who chooses S_A, groups of heads.
  public var heads: RowPolicy
  /// Who chooses S_M.
  public var neurons: RowPolicy
  /// What calibration measured of this layer's choice: density, recall, precision and so on; of
  /// heads under names that begin with `head_`.
  public var measured: [String: Double] = [:]
  /// What other thresholds of the same choosers would choose: how plans are interpolated.
  public var headCurve = DensityCurve()
  /// The same of neurons.
  public var neuronCurve = DensityCurve()

  /// A layer of which nothing was measured.
  public init(heads: RowPolicy, neurons: RowPolicy) {
    self.heads = heads
    self.neurons = neurons
  }
}

/// Who chooses the rows of one block.
public enum RowPolicy: Hashable, Sendable {
  /// Every row.
  case all
  /// Every up row, and down rows that are not zero (lossless for ReLU).
  case nonzero
  /// The rows of the greatest true contributions, known after the fact: the upper bound.
  case oracle(ChoiceRule)
  /// The neurons nearest to the input: of the greatest w · x + b, by reading all of W1.
  case nearest(ChoiceRule)
  /// W1 in a few bits, multiplied before the rows themselves.
  case shadow(bits: Int, Placement, ChoiceRule)
  /// The high bits of W1's own codes, behind attention: a shadow of which chosen rows read only the
  /// other half.
  case nested(ChoiceRule)
  /// The trained low-rank predictor.
  case lowRank(Placement, ChoiceRule)
  /// The same rows for every token.
  case fixed([Int32])
  /// Seeded random rows, another set for every step: the control.
  case random(density: Double, seed: UInt64)

  /// Whether the policy hands a list of rows to the block before it runs.
  package var choosesRows: Bool {
    switch self {
    case .all, .nonzero, .oracle, .nearest: false
    case .shadow, .nested, .lowRank, .fixed, .random: true
    }
  }

  /// The chooser that the policy asks, and where it looks; nil where it asks none.
  package var chooser: (kind: ChooserSite.Kind, placement: Placement)? {
    switch self {
    case .shadow(let bits, let placement, _): (.shadow(bits: bits), placement)
    case .nested: (.nested, .afterAttention)
    case .lowRank(let placement, _): (.lowRank(placement), placement)
    case .all, .nonzero, .oracle, .nearest, .fixed, .random: nil
    }
  }

  /// How the scores of the policy's chooser become a set; nil where it asks none.
  package var rule: ChoiceRule? {
    switch self {
    case .shadow(_, _, let rule), .nested(let rule), .lowRank(_, let rule): rule
    case .all, .nonzero, .oracle, .nearest, .fixed, .random: nil
    }
  }

  /// Whether there is a list of rows once the block has run.
  var listsRows: Bool {
    switch self {
    case .all, .nonzero: false
    case .oracle, .nearest, .shadow, .nested, .lowRank, .fixed, .random: true
    }
  }
}
