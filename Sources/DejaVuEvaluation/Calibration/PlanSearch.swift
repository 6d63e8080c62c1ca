import DejaVu
import DejaVuCore
import DejaVuModels

/// Finds the plan for a target among measured slots, correcting estimates by whole plans.
struct PlanSearch {
  let engine: Engine
  let slots: [MeasuredSlot]
  let target: CalibrationTarget
  /// The plan in which every row is computed.
  let base: SparsityPlan
  let choosers: [ChooserSite: ChooserWeights]
  let probe: SparseProbe
  let report: (CalibrationStep) -> Void

  static let rounds = 6

  /// A plan that was measured whole.
  struct Found {
    let sparsity: Sparsity
    let damage: Damage
    /// What was asked of the search to get it.
    let setting: Setting
  }

  /// What the search is asked for, corrected from round to round.
  struct Setting {
    /// Nats that all layers together may cost.
    var budget = 0.0
    /// Shares of rows, of both axes together where they have one target.
    var neurons = 1.0
    var heads = 1.0

    init(_ target: CalibrationTarget) {
      switch target {
      case .perplexityIncrease(let increase): budget = logarithm(1 + increase)
      case .density(let density): (neurons, heads) = (density, density)
      case .densities(let neurons, let heads):
        (self.neurons, self.heads) = (neurons ?? 1, heads ?? 1)
      }
    }
  }

  /// One candidate for each slot.
  static func choose(
    _ slots: [MeasuredSlot], _ target: CalibrationTarget, _ setting: Setting, share: Double = 1
  ) -> [RowCandidate] {
    let candidates = slots.map(\.candidates)
    switch target {
    case .perplexityIncrease:
      return CandidateSearch.choose(candidates, budget: setting.budget * share)
    case .density: return CandidateSearch.choose(candidates, density: setting.neurons)
    case .densities:
      var (heads, neurons) = (
        CandidateSearch.choose(
          slots.filter { $0.axis == .heads }.map(\.candidates), density: setting.heads)[...],
        CandidateSearch.choose(
          slots.filter { $0.axis == .neurons }.map(\.candidates), density: setting.neurons)[...]
      )
      return slots.compactMap { $0.axis == .heads ? heads.popFirst() : neurons.popFirst() }
    }
  }

  /// The plan that these candidates make.
  func plan(_ chosen: [RowCandidate]) -> SparsityPlan {
    var plan = base
    for (slot, candidate) in zip(slots, chosen) {
      let chooser = slot.measured.first { $0.competitor.isNamed(by: candidate.policy) }
      let curve = chooser?.densityCurve ?? DensityCurve()
      let prefix = slot.axis == .heads ? "head_" : ""
      plan.layers[slot.layer].choose(candidate.policy, on: slot.axis)
      plan.layers[slot.layer].measured.merge(candidate.measured(prefix: prefix)) { $1 }
      if slot.axis == .heads {
        plan.layers[slot.layer].headCurve = curve
      } else {
        plan.layers[slot.layer].neuronCurve = curve
      }
    }
    return plan
  }

  /// The best plan of a few rounds; nil where no sparse plan meets a greatest loss.
  ///
  /// - Parameter cap: share of the allowed loss that may be spent.
  /// - Returns: the plan with its damage.
  /// - Throws: ``CalibrationError`` for a density that cannot be had, ``BackendError``.
  func run(cap: Double = 1) throws -> Found? {
    var setting = Setting(target)
    setting.budget *= cap
    let allowed = setting.budget
    var best: Found?
    for round in 0..<Self.rounds {
      let chosen = Self.choose(slots, target, setting)
      if round == 0 { try check(chosen) }
      let sparsity = Sparsity(plan: plan(chosen), choosers: choosers)
      let damage = try probe.damage(of: sparsity)
      report(
        .plan(
          round: round, density: damage.tally.density(of: engine.model),
          lossIncrease: damage.lossIncrease, divergence: damage.divergence))
      let found = Found(sparsity: sparsity, damage: damage, setting: setting)
      if isBetter(found, than: best, allowed) { best = found }
      if isClose(damage, allowed) { break }
      correct(&setting, damage, allowed)
    }
    return best
  }

  /// Whether even the sparsest candidates compute more rows than were asked for.
  private func check(_ chosen: [RowCandidate]) throws(CalibrationError) {
    let hasHeads = slots.contains { $0.axis == .heads && !$0.measured.isEmpty }
    func check(_ asked: Double, _ axes: [RowAxis]) throws(CalibrationError) {
      let least = CandidateSearch.meanDensity(
        zip(slots, chosen).filter { axes.contains($0.0.axis) }.map(\.1))
      guard least <= asked * 1.02 + 1e-6 else {
        throw .densityTooLow(asked: asked, least: least, hasHeadPredictors: hasHeads)
      }
    }
    switch target {
    case .perplexityIncrease: break
    case .density(let density): try check(density, RowAxis.allCases)
    case .densities(let neurons, let heads):
      if let neurons { try check(neurons, [.neurons]) }
      if let heads { try check(heads, [.heads]) }
    }
  }

  /// Distance of what was computed from what was asked, as a share; of densities only.
  private func distance(_ damage: Damage) -> Double {
    switch target {
    case .perplexityIncrease: return 0
    case .density(let asked): return abs(damage.tally.density(of: engine.model) / asked - 1)
    case .densities(let neurons, let heads):
      return max(
        neurons.map { abs(damage.tally.neuronDensity / $0 - 1) } ?? 0,
        heads.map { abs(damage.tally.headDensity / $0 - 1) } ?? 0)
    }
  }

  private func isBetter(_ found: Found, than best: Found?, _ allowed: Double) -> Bool {
    guard !target.isDensity else {
      return best.map { distance(found.damage) < distance($0.damage) } ?? true
    }
    guard found.damage.cost <= allowed * 0.97 else { return false }
    return best.map { found.setting.budget > $0.setting.budget } ?? true
  }

  private func isClose(_ damage: Damage, _ allowed: Double) -> Bool {
    target.isDensity
      ? distance(damage) < 0.004
      : (0.88 * allowed...0.97 * allowed).contains(damage.cost)
  }

  private func correct(_ setting: inout Setting, _ damage: Damage, _ allowed: Double) {
    func factor(_ wanted: Double, _ found: Double) -> Double {
      min(max(wanted / max(found, 1e-6), 0.5), 2)
    }
    switch target {
    case .perplexityIncrease:
      setting.budget *= factor(0.93 * allowed, damage.cost)
    case .density(let asked):
      setting.neurons *= factor(asked, damage.tally.density(of: engine.model))
    case .densities(let neurons, let heads):
      if let neurons { setting.neurons *= factor(neurons, damage.tally.neuronDensity) }
      if let heads { setting.heads *= factor(heads, damage.tally.headDensity) }
    }
  }
}

extension Competitor {
  /// Whether a policy asks this chooser.
  func isNamed(by policy: RowPolicy) -> Bool {
    let rule = ChoiceRule.threshold(0)
    return policy.replacing(rule) == self.policy(rule)
  }
}
