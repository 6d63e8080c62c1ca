import DejaVuCore
import DejaVuModels

/// A chooser that competes for the rows of one axis of one layer.
struct Competitor {
  let site: ChooserSite
  let placement: Placement
  let weights: ChooserWeights

  /// The stream that it reads.
  var source: StreamSource {
    let placed = site.axis.placement(placement, at: site.layer)
    return StreamSource(PredictorSite(axis: site.axis, layer: site.layer, placement: placed))
  }

  func policy(_ rule: ChoiceRule) -> RowPolicy {
    switch site.kind {
    case .shadow(let bits): .shadow(bits: bits, placement, rule)
    case .nested: .nested(rule)
    case .lowRank: .lowRank(placement, rule)
    }
  }

  /// How reports call it.
  var word: String {
    switch site.kind {
    case .shadow(let bits): "shadow, \(bits) bits, \(placement.rawValue)"
    case .nested: "high bits, \(weights.first.bits) of \(2 * weights.first.bits)"
    case .lowRank: "low rank \(weights.first.rows), \(placement.rawValue)"
    }
  }
}
