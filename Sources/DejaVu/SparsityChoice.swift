import DejaVuCPU
import DejaVuCore
package import DejaVuModels

/// A run mode with what it needs: the answer to `--sparsity` and `--density`.
package struct SparsityChoice: Sendable {
  package let mode: RunMode
  package let sparsity: Sparsity?
  /// Why this mode, in a few words, where the program chose it.
  package let reason: String?
  /// What the user should know of the plan, a sentence.
  package let warning: String?

  package init(
    mode: RunMode, sparsity: Sparsity? = nil, reason: String? = nil, warning: String? = nil
  ) {
    self.mode = mode
    self.sparsity = sparsity
    self.reason = reason
    self.warning = warning
  }

  package static let dense = SparsityChoice(mode: .dense)
  package static let exact = SparsityChoice(mode: .exact)

  /// A plan by name.
  ///
  /// - Throws: ``PlanError`` when there is no plan of that name, ``PredictorError`` for a file that
  ///   is damaged or belongs to another model.
  package static func plan(
    _ name: String, model: LanguageModel, folder: String
  ) throws -> SparsityChoice {
    let (store, maker) = try store(of: model, in: folder)
    guard let plan = store.plan(named: name) else {
      throw PlanError.unknown(name: name, path: store.path, known: store.plans.map(\.name))
    }
    return try following(plan, store, maker, model)
  }

  /// A plan for a share of rows, between those stored beside the model.
  ///
  /// - Throws: ``PlanError`` when no two stored plans have it between them, ``PredictorError``.
  package static func density(
    _ density: Double, model: LanguageModel, folder: String
  ) throws -> SparsityChoice {
    let (store, maker) = try store(of: model, in: folder)
    let interpolation = PlanInterpolation(store.plans, architecture: model.architecture)
    guard let range = interpolation.range else { throw PlanError.noDensities(path: store.path) }
    guard let plan = interpolation.plan(density: density) else {
      throw PlanError.outside(
        density: density, path: store.path, lowest: range.lowerBound, highest: range.upperBound)
    }
    return try following(plan, store, maker, model)
  }

  private static func store(
    of model: LanguageModel, in folder: String
  ) throws -> (SparsityStore, ShadowMaker) {
    guard let maker = try model.engine.shadowMaker() else { throw PlanError.noBackend }
    guard let store = try SparsityStore.open(model: model.loaded, folder: folder) else {
      throw PlanError.noPlans(folder: folder)
    }
    return (store, maker)
  }

  private static func following(
    _ plan: SparsityPlan, _ store: SparsityStore, _ maker: ShadowMaker, _ model: LanguageModel,
    reason: String? = nil
  ) throws(PredictorError) -> SparsityChoice {
    let format = model.loaded.model.format.name
    let isForeign = plan.weightFormat != "any" && plan.weightFormat != format
    return SparsityChoice(
      mode: .sparse, sparsity: try store.resolve(plan, by: maker), reason: reason,
      warning: isForeign
        ? "plan '\(plan.name)' was calibrated for \(plan.weightFormat) weights and these are "
          + "\(format); 'dejavu calibrate' makes one for them" : nil)
  }
}

extension SparsityChoice {
  /// The fastest of dense, exact and the model's own plan: never sparse where sparse is slower.
  ///
  /// The plan is the one that reads fewest bytes of those that cost at most 1 % of perplexity.
  ///
  /// - Parameters:
  ///   - model: what is to run.
  ///   - folder: where its plans lie.
  ///   - known: a crossover that was measured before, by the plan's name; nil measures it.
  /// - Returns: the choice, and the crossover that it was made by.
  /// - Throws: ``PredictorError`` for a damaged predictor file, ``BackendError``.
  package static func auto(
    model: LanguageModel, folder: String, known: (SparsityPlan?) -> Crossover? = { _ in nil }
  ) throws -> (choice: SparsityChoice, plan: SparsityPlan?, crossover: Crossover) {
    let store = try SparsityStore.open(model: model.loaded, folder: folder)
    let plan = store.flatMap { affordable($0.plans) }
    var sparse: SparsityChoice?
    if let store, let plan, let maker = try model.engine.shadowMaker() {
      sparse = try following(plan, store, maker, model)
    }
    let found = known(plan)
    let crossover = try found ?? Crossover.measure(sparse?.sparsity, engine: model.engine)
    let (mode, gain) = crossover.fastest
    let speed =
      "\((gain * 100).rounded() / 100) times dense, measured "
      + (found == nil ? "just now" : "before on this machine")
    switch mode {
    case .dense:
      let reason =
        "nothing is faster than dense here, measured "
        + (found == nil ? "just now" : "before on this machine")
      return (SparsityChoice(mode: .dense, reason: reason), plan, crossover)
    case .exact:
      let why = plan == nil ? "\(speed); no plan of at most 1 % loss is there" : speed
      return (SparsityChoice(mode: .exact, reason: why), plan, crossover)
    case .sparse:
      return (
        SparsityChoice(
          mode: .sparse, sparsity: sparse?.sparsity, reason: speed, warning: sparse?.warning),
        plan, crossover
      )
    }
  }

  /// The plan of the fewest bytes among those that were measured to cost at most 1 %.
  package static func affordable(_ plans: [SparsityPlan]) -> SparsityPlan? {
    plans.filter { ($0.measured["perplexity_increase"] ?? .infinity) <= 0.01 }
      .min { ($0.measured["byte_share"] ?? 1) < ($1.measured["byte_share"] ?? 1) }
  }
}
