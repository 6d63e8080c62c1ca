import DejaVu
import DejaVuCore
import DejaVuModels

/// A plan's chooser of one layer and axis: what calibration promised, and what this text finds.
package struct ChooserRow: Codable, Hashable, Sendable {
  package var layer: Int
  package var axis: String
  /// `shadow` or `low-rank`.
  package var chooser: String
  package var placement: String
  /// `null` of a chooser that has none.
  package var rank: Figure
  package var bits: Figure
  /// What one choice reads.
  package var bytes: Int
  /// Of the plan.
  package var plannedDensity: Figure
  package var plannedRecall: Figure
  package var plannedMass: Figure
  /// On this text, against the oracle's sets of the same size.
  package var density: Figure
  package var recall: Figure
  package var precision: Figure
  package var coveredMass: Figure
}

/// A stored plan, measured again.
package struct ChooserQuality: Codable, Hashable, Sendable {
  package var plan: String
  package var rows: [ChooserRow]

  /// Rows of every chooser of a plan; layers without one are left out.
  init(_ sparsity: Sparsity, _ figures: SetFigures) {
    plan = sparsity.plan.name
    rows = sparsity.plan.layers.enumerated().flatMap { layer, policies in
      RowAxis.allCases.compactMap { axis in
        Self.row(
          layer, axis, policies, sparsity.choosers,
          axis == .heads ? figures.heads[layer] : figures.neurons[layer])
      }
    }
  }

  private static func row(
    _ layer: Int, _ axis: RowAxis, _ plan: LayerPlan, _ choosers: [ChooserSite: ChooserWeights],
    _ figures: RowFigures
  ) -> ChooserRow? {
    let policy = axis == .heads ? plan.heads : plan.neurons
    guard let (kind, place) = policy.chooser else { return nil }
    let word =
      switch kind {
      case .shadow: "shadow"
      case .nested: "nested"
      case .lowRank: "low-rank"
      }
    let weights = choosers[ChooserSite(layer: layer, axis: axis, kind: kind)]
    let prefix = axis == .heads ? "head_" : ""
    let planned = { (key: String) in Figure(plan.measured[prefix + key]) }
    return ChooserRow(
      layer: layer, axis: axis.rawValue, chooser: word, placement: place.rawValue,
      rank: Figure(weights?.second == nil ? nil : weights.map { Double($0.first.rows) }),
      bits: Figure(weights.map { Double($0.first.bits) }), bytes: weights?.byteCount ?? 0,
      plannedDensity: planned("density"), plannedRecall: planned("recall"),
      plannedMass: planned("covered_mass"), density: Figure(figures.density),
      recall: Figure(figures.recall), precision: Figure(figures.precision),
      coveredMass: Figure(figures.coveredMass))
  }
}
