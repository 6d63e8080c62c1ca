import DejaVuCPU
import DejaVuCore
package import DejaVuModels

/// What calibration found out about one chooser of one layer.
package struct ChooserFigures: Sendable {
  package let layer: Int
  package let axis: RowAxis
  /// Kind, bits or rank, and placement.
  package let chooser: String
  /// What a few covered masses cost; without divergences where the chooser reads more than another
  /// at every mass, so that nobody measured it.
  package let points: [Point]

  /// One threshold or count.
  package struct Point: Sendable {
    package let mass: Double
    package let density: Double
    package let byteShare: Double
    package let divergence: Double?
  }

  package var wasMeasured: Bool { points.contains { $0.divergence != nil } }
}

/// A chooser with its curve, and what a few points of the curve do.
struct MeasuredCompetitor {
  let competitor: Competitor
  let curve: MassCurve
  /// Share of the mass that is missed, and the divergence from it; ascending.
  var points: [(miss: Double, divergence: Double)] = []
}

/// The candidates of one axis of one layer.
struct MeasuredSlot {
  let layer: Int
  let axis: RowAxis
  let measured: [MeasuredCompetitor]
  let candidates: [RowCandidate]
}

/// What rows of one layer cost, whoever chooses them.
struct LayerCosts {
  private let layer: PackedLayer
  private let window: Int
  /// Mean bytes of a layer's MLP, the unit of costs.
  private let unit: Double

  init(_ model: PackedModel, layer: Int, window: Int) {
    self.layer = model.layers[layer]
    self.window = window
    unit = Double(model.rowBytes(attention: false)) / Double(max(model.layers.count, 1))
  }

  private func all(_ axis: RowAxis) -> Double {
    Double(axis == .neurons ? layer.bundle.byteCount : layer.attentionBytes)
  }

  /// Bytes of the axis, in units of a layer's MLP.
  func weight(_ axis: RowAxis) -> Double { all(axis) / unit }

  /// Share of the axis' bytes that a token reads.
  ///
  /// - Parameters:
  ///   - axis: heads or neurons.
  ///   - density: share of rows chosen.
  ///   - active: of neurons, the share of rows that is chosen and not zero, whose down rows are
  ///     read; of heads without meaning.
  ///   - chooser: what chooses; nil where nothing does.
  /// - Returns: 1 where everything is read and nothing chooses.
  func byteShare(
    _ axis: RowAxis, density: Double, active: Double, chooser: ChooserWeights?
  ) -> Double {
    let own = Double(chooser?.byteCount ?? 0) / max(all(axis), 1)
    switch axis {
    case .neurons:
      let neurons = Double(layer.bundle.neurons)
      var read = layer.bundle.byteCount(computed: density * neurons, active: active * neurons)
      if let half = chooser?.nested?.lowBytes {
        read -= density * neurons * Double(layer.bundle.matrix.rowBytes - half)
      }
      return own + read / max(all(.neurons), 1)
    case .heads:
      // Keys and values of heads that nobody chose are settled once a window.
      let late =
        Double(layer.key.byteCount + layer.value.byteCount) / max(all(.heads), 1)
        / Double(max(window, 1))
      return own + density + (1 - density) * late
    }
  }
}

extension MeasuredCompetitor {
  /// The candidate that covers all but `miss` of the mass.
  func candidate(missing miss: Double, rule: RuleKind, costs: LayerCosts) -> RowCandidate {
    candidate(above: curve.threshold(covering: 1 - miss), rule: rule, costs: costs)
  }

  /// Even steps of missed mass, and even steps of rows: small misses are few steps of many rows.
  func candidates(rule: RuleKind, costs: LayerCosts) -> [RowCandidate] {
    let masses = Self.grid.map { curve.threshold(covering: 1 - $0) }
    let densities = (1...97).map { curve.threshold(density: 0.01 * Double($0)) }
    return (masses + densities).map { candidate(above: $0, rule: rule, costs: costs) }
  }

  /// Shares of the mass that candidates miss, of which a few are measured.
  ///
  /// The least are for losses of hundredths of a per cent.
  static let grid: [Double] = (0...76).map { power(10, -3.8 + 0.05 * Double($0)) }

  private func candidate(
    above threshold: Float, rule: RuleKind, costs: LayerCosts
  ) -> RowCandidate {
    let axis = competitor.site.axis
    let density = curve.density(above: threshold)
    let missed = max(1 - curve.mass(above: threshold), 0)
    return RowCandidate(
      policy: competitor.policy(choice(threshold, rule)),
      byteShare: costs.byteShare(
        axis, density: density, active: curve.activeDensity(above: threshold),
        chooser: competitor.weights),
      weight: costs.weight(axis), divergence: Self.interpolate(points, at: missed),
      mass: 1 - missed, density: density, recall: curve.recall(above: threshold),
      precision: curve.precision(above: threshold))
  }

  /// A threshold on places is a count.
  private func choice(_ threshold: Float, _ rule: RuleKind) -> ChoiceRule {
    rule == .threshold
      ? .threshold(threshold)
      : .highest(min(max(Int((-threshold).rounded(.down)), 1), competitor.weights.rows))
  }

  /// Log-log interpolation of measured divergences; nothing missed costs nothing.
  static func interpolate(
    _ points: [(miss: Double, divergence: Double)], at miss: Double
  ) -> Double {
    guard let first = points.first, miss > 1e-6 else { return 0 }
    guard points.count > 1 else { return first.divergence * miss / first.miss }
    let upper = points.firstIndex { $0.miss >= miss } ?? points.count - 1
    let index = min(max(upper, 1), points.count - 1)
    let (a, b) = (points[index - 1], points[index])
    let slope = logarithm(b.divergence / a.divergence) / logarithm(b.miss / a.miss)
    return a.divergence * power(miss / a.miss, min(max(slope, 0.2), 3))
  }

  /// Thresholds of even densities, for plans between stored ones.
  var densityCurve: DensityCurve {
    DensityCurve(
      [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9].map { asked in
        let threshold = curve.threshold(density: asked)
        return .init(density: curve.density(above: threshold), threshold: threshold)
      })
  }
}
