package import DejaVuCore

/// Makes plans for densities between those of stored ones.
///
/// Density is the share of rows computed, over all layers, of heads and neurons together, each row
/// counting by its bytes. Between two stored plans of densities a < D < b, every layer and axis
/// gets the density that lies at (D − a) / (b − a) between its two own, so that their mean is D:
///
/// - Where both plans ask the same chooser, its threshold comes from the curve that calibration
///   measured, through both plans' own thresholds, linear between points; a count is linear.
/// - Where one plan computes every row, the other's chooser is followed up its curve, and past its
///   end every row is computed.
/// - Where choosers differ, the nearer plan's is followed along its own curve.
///
/// A stored plan's own density gives that plan.
package struct PlanInterpolation {
  private let plans: [SparsityPlan]
  private let architecture: Architecture

  /// - Parameters:
  ///   - plans: stored ones; those whose density was never measured are left out.
  ///   - architecture: of their model.
  package init(_ plans: [SparsityPlan], architecture: Architecture) {
    self.architecture = architecture
    var byDensity: [SparsityPlan] = []
    for plan in plans.filter({ $0.density != nil }) {
      // Of equal densities the plan of less damage.
      if let index = byDensity.firstIndex(where: { $0.density == plan.density }) {
        if plan.divergence < byDensity[index].divergence { byDensity[index] = plan }
      } else {
        byDensity.append(plan)
      }
    }
    self.plans = byDensity.sorted { ($0.density ?? 0) < ($1.density ?? 0) }
  }

  /// The densities that plans can be made for; nil without any plan.
  package var range: ClosedRange<Double>? {
    guard let low = plans.first?.density, let high = plans.last?.density else { return nil }
    return low...high
  }

  /// The plan of a density within ``range``; nil outside.
  package func plan(density: Double) -> SparsityPlan? {
    guard let range, range.contains(density),
      let upper = plans.firstIndex(where: { ($0.density ?? 0) >= density })
    else { return nil }
    if plans[upper].density == density { return plans[upper] }
    let (a, b) = (plans[upper - 1], plans[upper])
    let (low, high) = (a.density ?? 0, b.density ?? 1)
    return between(a, b, weight: (density - low) / (high - low), density: density)
  }

  private func between(
    _ a: SparsityPlan, _ b: SparsityPlan, weight: Double, density: Double
  ) -> SparsityPlan {
    var plan = weight < 0.5 ? a : b
    plan.name = "density \((density * 1e4).rounded() / 1e4)"
    plan.window = max(a.window, b.window)
    plan.measured = ["density": density]
    for layer in plan.layers.indices {
      var made = plan.layers[layer]
      made.measured = made.measured.filter { $0.key == "precision" }
      for axis in RowAxis.allCases {
        let (policy, density) = between(
          AxisChoice(a.layers[layer], axis, architecture),
          AxisChoice(b.layers[layer], axis, architecture), weight: weight)
        if axis == .heads { made.heads = policy } else { made.neurons = policy }
        made.measured[axis == .heads ? "head_density" : "density"] = density
      }
      plan.layers[layer] = made
    }
    return plan
  }

  private func between(
    _ a: AxisChoice, _ b: AxisChoice, weight: Double
  ) -> (RowPolicy, density: Double) {
    let density = (1 - weight) * a.density + weight * b.density
    if a.isFull || b.isFull {
      if a.isFull && b.isFull { return ((weight < 0.5 ? a : b).policy, density) }
      let (chooser, full) = a.isFull ? (b, a) : (a, b)
      return (chooser.reaches(density) ? chooser.policy(at: density) : full.policy, density)
    }
    // One curve all the way, so that no threshold jumps.
    let followed = a.asksTheSame(as: b) ? a.through(b) : weight < 0.5 ? a : b
    return (followed.policy(at: density), density)
  }
}

/// One axis of a layer in a plan.
private struct AxisChoice {
  let policy: RowPolicy
  /// Share of rows that the policy computes.
  let density: Double
  private var curve: DensityCurve
  private let rows: Int

  init(_ layer: LayerPlan, _ axis: RowAxis, _ architecture: Architecture) {
    rows = axis.rows(architecture)
    policy = axis == .heads ? layer.heads : layer.neurons
    curve = axis == .heads ? layer.headCurve : layer.neuronCurve
    let measured = layer.measured[axis == .heads ? "head_density" : "density"]
    density =
      switch policy {
      case .all, .nonzero: 1
      case .fixed(let list): Double(list.count) / Double(rows)
      case .random(let density, _): density
      default:
        if case .highest(let count) = policy.rule {
          Double(count) / Double(rows)
        } else {
          measured ?? 1
        }
      }
    if let threshold {
      curve = curve.anchored(.init(density: density, threshold: threshold))
    }
  }

  private var threshold: Float? {
    if case .threshold(let threshold) = policy.rule { threshold } else { nil }
  }

  var isFull: Bool { policy == .all || policy == .nonzero }

  /// Whether both follow one chooser by one kind of rule.
  func asksTheSame(as other: AxisChoice) -> Bool {
    let rule = ChoiceRule.threshold(0)
    return policy.replacing(rule) == other.policy.replacing(rule)
      && (threshold == nil) == (other.threshold == nil)
  }

  /// The same choice, its curve led through the other's threshold too.
  func through(_ other: AxisChoice) -> AxisChoice {
    var choice = self
    if let threshold = other.threshold {
      choice.curve = curve.anchored(.init(density: other.density, threshold: threshold))
    }
    return choice
  }

  /// Whether the chooser is known to be able to choose so many rows.
  func reaches(_ density: Double) -> Bool {
    threshold == nil || density <= curve.points.last?.density ?? 0
  }

  /// The policy with the rule that computes this share of rows.
  func policy(at density: Double) -> RowPolicy {
    if case .random(_, let seed) = policy {
      return .random(density: max(density, 1e-6), seed: seed)
    }
    if case .highest = policy.rule {
      let count = Int((density * Double(rows)).rounded())
      return policy.replacing(.highest(min(max(count, 1), rows)))
    }
    guard let threshold = curve.threshold(at: density) else { return policy }
    return policy.replacing(.threshold(threshold))
  }
}

extension RowPolicy {
  /// The same chooser by another rule; policies without a rule as they are.
  package func replacing(_ rule: ChoiceRule) -> RowPolicy {
    switch self {
    case .shadow(let bits, let placement, _): .shadow(bits: bits, placement, rule)
    case .nested: .nested(rule)
    case .lowRank(let placement, _): .lowRank(placement, rule)
    default: self
    }
  }
}

extension SparsityPlan {
  /// Share of rows that it computed on the text that it was calibrated on; nil where nobody
  /// measured it.
  package var density: Double? { measured["density"] }

  fileprivate var divergence: Double { measured["divergence"] ?? .infinity }
}
