package import DejaVuCPU
import DejaVuCore
import DejaVuFormats
package import DejaVuModels

/// The plans and predictors that lie beside a model, ready to be followed.
package struct SparsityStore {
  package let path: String
  package let plans: [SparsityPlan]
  package let predictors: [PredictorSite: ChooserWeights]

  /// Opens `predictors.safetensors` in a model's folder, or a file named by the user.
  ///
  /// - Returns: nil when the model has none.
  /// - Throws: ``PredictorError`` for one that is damaged or belongs to another model.
  package static func open(
    model: LoadedModel, folder: String, file: String? = nil
  ) throws(PredictorError) -> SparsityStore? {
    let path = file ?? folder + "/" + PredictorFile.fileName
    if file == nil, !FileSystem.exists(path) { return nil }
    let architecture = model.model.architecture
    let opened = try PredictorFile.open(
      path: path, fingerprint: model.fingerprint, architecture: architecture)
    let plans = try PlanReader(architecture: architecture, path: path).plans(in: opened.plans)
    return SparsityStore(path: path, plans: plans, predictors: opened.predictors)
  }

  /// A store of a model that has neither plans nor predictors: shadows can be made all the same.
  package static func empty(path: String) -> SparsityStore {
    SparsityStore(path: path, plans: [], predictors: [:])
  }

  /// Whether every one of a model's `layers` has a predictor of these rows with this placement.
  package func hasPredictors(_ axis: RowAxis, _ placement: Placement, layers: Int) -> Bool {
    (0..<layers).allSatisfy { layer in
      let nearest = axis.placement(placement, at: layer)
      return predictors[PredictorSite(axis: axis, layer: layer, placement: nearest)] != nil
    }
  }

  /// The trained predictors in a file; none where there is no file yet.
  ///
  /// - Throws: ``PredictorError`` for one that is damaged or belongs to another model.
  package static func predictors(
    in path: String, of model: LoadedModel
  ) throws(PredictorError) -> [PredictorSite: ChooserWeights] {
    guard FileSystem.exists(path) else { return [:] }
    return try open(model: model, folder: "", file: path)?.predictors ?? [:]
  }

  package func plan(named name: String) -> SparsityPlan? { plans.first { $0.name == name } }

  /// The plan with its choosers; shadows are made from the weights by the backend's threads.
  ///
  /// - Throws: ``PredictorError/damaged(path:reason:)`` when a predictor that it names is missing.
  package func resolve(
    _ plan: SparsityPlan, on backend: CPUBackend
  ) throws(PredictorError) -> Sparsity {
    try resolve(plan, by: ShadowMaker(backend: backend))
  }

  /// The same for any engine, whose threads make the shadows.
  package func resolve(
    _ plan: SparsityPlan, by maker: ShadowMaker
  ) throws(PredictorError) -> Sparsity {
    var choosers: [ChooserSite: ChooserWeights] = [:]
    for (layer, rows) in plan.layers.enumerated() {
      for (axis, policy) in [(RowAxis.heads, rows.heads), (.neurons, rows.neurons)] {
        switch policy {
        case .shadow(let bits, _, _):
          let site = ChooserSite(layer: layer, axis: axis, kind: .shadow(bits: bits))
          choosers[site] = maker.shadow(layer: layer, bits: bits)
        case .nested:
          guard let weights = maker.nested(layer: layer) else {
            throw .unsuited(
              path: path, plan: plan.name, calibrated: plan.weightFormat,
              found: maker.format(layer: layer))
          }
          choosers[ChooserSite(layer: layer, axis: axis, kind: .nested)] = weights
        case .lowRank(let placement, _):
          let rowAxis: RowAxis = axis == .heads ? .heads : .neurons
          // Layer 0 has nothing before it: its predictor is stored for the nearest placement.
          let wanted = PredictorSite(
            axis: rowAxis, layer: layer, placement: rowAxis.placement(placement, at: layer))
          guard let weights = predictors[wanted] else {
            throw .damaged(
              path: path,
              reason: "plan '\(plan.name)' names a predictor for \(axis.rawValue) of layer "
                + "\(layer) that is not there")
          }
          choosers[ChooserSite(layer: layer, axis: axis, kind: .lowRank(placement))] = weights
        case .all, .nonzero, .oracle, .nearest, .fixed, .random: break
        }
      }
    }
    return Sparsity(plan: plan, choosers: choosers).inOneArena()
  }

  /// Stores a plan beside the model, replacing one of its name; predictors stay.
  package static func save(
    _ plan: SparsityPlan, model: LoadedModel, path: String
  ) throws(PredictorError) {
    let architecture = model.model.architecture
    guard FileSystem.exists(path) else {
      try PredictorFile.write(
        [], to: path, fingerprint: model.fingerprint, plans: PlanText.text([plan]))
      return
    }
    let file = try PredictorFile.open(
      path: path, fingerprint: model.fingerprint, architecture: architecture)
    var plans = try PlanReader(architecture: architecture, path: path).plans(in: file.plans)
    plans.removeAll { $0.name == plan.name }
    _ = try file.replacingPlans(PlanText.text(plans + [plan]), architecture: architecture)
  }
}
