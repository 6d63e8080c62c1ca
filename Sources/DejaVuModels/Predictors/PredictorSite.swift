package import DejaVuCore

/// The two axes along which a block may leave rows out.
package enum RowAxis: String, Hashable, Sendable, CaseIterable {
  case heads, neurons

  /// Rows of one layer: key/value groups, or neurons.
  package func rows(_ architecture: Architecture) -> Int {
    switch self {
    case .heads: architecture.kvHeads
    case .neurons: architecture.neurons
    }
  }

  /// Where a chooser of these rows may look.
  package var placements: [Placement] {
    switch self {
    case .heads: [.same, .blockAhead, .layerAhead]
    case .neurons: [.afterAttention, .blockAhead, .layerAhead]
    }
  }

  /// The nearest placement that layer 0 has, which has nothing before it.
  package func placement(_ wanted: Placement, at layer: Int) -> Placement {
    guard layer == 0 else { return wanted }
    switch self {
    case .heads: return .same
    case .neurons: return wanted == .afterAttention ? .afterAttention : .blockAhead
    }
  }
}

/// Which rows a predictor chooses, and where it looks.
package struct PredictorSite: Hashable, Sendable {
  package let axis: RowAxis
  package let layer: Int
  package let placement: Placement

  package init(axis: RowAxis, layer: Int, placement: Placement) {
    self.axis = axis
    self.layer = layer
    self.placement = placement
  }

  /// What a predictor's tensors are named after.
  var name: String { "\(axis.rawValue).\(layer)" }
}

/// What a predictor achieved on text that was held out from its training.
package struct PredictorFigures: Hashable, Sendable {
  /// Tokens that training read.
  package var tokens = 0
  /// Share of rows that are positive: their output is at least the threshold.
  package var positives = 0.0
  /// Fewest rows per token that can carry 98 % of the output's mass.
  package var k98 = 0
  /// With the K98 rows of the highest scores: share of the positives among all of them, share of
  /// them among the positives, and their share of the mass.
  package var recall = 0.0
  package var precision = 0.0
  package var coveredMass = 0.0
  /// Share of rows above the one score that leaves 98 % of the mass, and that score.
  package var density98 = 0.0
  package var score98 = 0.0

  package init() {}
}

/// What a predictor file says about one predictor.
package struct PredictorEntry: Hashable, Sendable {
  package var site: PredictorSite
  /// Inner width, a multiple of 64.
  package var rank: Int
  /// Bits of a stored weight: 2, 4 or 8.
  package var bits: Int
  /// Whether each row's score has a bias.
  package var hasBias: Bool
  /// What made a row positive in training, in the trainer's word.
  package var criterion: String
  /// The least output of a positive row.
  package var threshold: Double
  package var figures: PredictorFigures

  package init(
    site: PredictorSite, rank: Int, bits: Int, hasBias: Bool, criterion: String, threshold: Double,
    figures: PredictorFigures
  ) {
    self.site = site
    self.rank = rank
    self.bits = bits
    self.hasBias = hasBias
    self.criterion = criterion
    self.threshold = threshold
    self.figures = figures
  }

  /// Lanes of the first matrix: the stream's width in whole groups of 64.
  package static func columns(_ architecture: Architecture) -> Int {
    (architecture.hidden + 63) / 64 * 64
  }
}
