import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

/// Plans between stored plans.
struct PlanInterpolationTests {
  private static let architecture = TinyModel.opt.architecture

  /// A plan whose neurons have this density in every layer, by thresholds of 1 − density.
  private static func plan(
    _ name: String, _ density: Double, bits: Int = 4, rule: ChoiceRule? = nil,
    curve: DensityCurve = DensityCurve()
  ) -> SparsityPlan {
    let rule = rule ?? .threshold(Float(1 - density))
    var plan = SparsityPlan.uniform(
      name, layers: architecture.layers, neurons: .shadow(bits: bits, .afterAttention, rule))
    plan.measured = ["density": density, "divergence": 0.1]
    for layer in plan.layers.indices {
      plan.layers[layer].measured = ["density": density]
      plan.layers[layer].neuronCurve = curve
    }
    return plan
  }

  private static func interpolation(_ plans: SparsityPlan...) -> PlanInterpolation {
    PlanInterpolation(plans, architecture: architecture)
  }

  private func threshold(_ plan: SparsityPlan?) -> Float? {
    guard case .shadow(_, _, .threshold(let threshold)) = plan?.layers[0].neurons else {
      return nil
    }
    return threshold
  }

  @Test func `a stored plan's density gives the plan itself`() {
    let plans = [0.7, 0.2, 0.4].map { Self.plan("\($0)", $0) }
    let interpolation = Self.interpolation(plans[0], plans[1], plans[2])
    #expect(interpolation.range == 0.2...0.7)
    for plan in plans {
      #expect(interpolation.plan(density: plan.density ?? 0) == plan)
    }
  }

  @Test func `outside the stored densities there is no plan`() {
    let interpolation = Self.interpolation(Self.plan("a", 0.2), Self.plan("b", 0.4))
    for density in [0.19, 0.41, 0, 1, .nan] {
      #expect(interpolation.plan(density: density) == nil)
    }
    var unmeasured = Self.plan("c", 0.9)
    unmeasured.measured = [:]
    #expect(Self.interpolation(unmeasured).range == nil)
    #expect(Self.interpolation(unmeasured, Self.plan("a", 0.3)).range == 0.3...0.3)
  }

  @Test func `of two plans of one density the less harmful is taken`() {
    var better = Self.plan("better", 0.3, bits: 8)
    better.measured["divergence"] = 0.01
    let interpolation = Self.interpolation(Self.plan("a", 0.3), better, Self.plan("b", 0.6))
    #expect(interpolation.plan(density: 0.3) == better)
  }

  @Test func `between two plans of one chooser thresholds run along the curve`() throws {
    // Thresholds of 1 − density at both ends, but a bend between.
    let curve = DensityCurve([.init(density: 0.5, threshold: 0.7)])
    let interpolation = Self.interpolation(
      Self.plan("a", 0.2, curve: curve), Self.plan("b", 0.6, curve: curve))
    let middle = try #require(interpolation.plan(density: 0.5))
    #expect(threshold(middle) == 0.7)
    #expect(abs(try #require(threshold(interpolation.plan(density: 0.35))) - 0.75) < 1e-6)
    #expect(abs(try #require(threshold(interpolation.plan(density: 0.55))) - 0.55) < 1e-6)
    #expect(middle.density == 0.5 && middle.name == "density 0.5")
    #expect(middle.layers.allSatisfy { abs(($0.measured["density"] ?? 0) - 0.5) < 1e-12 })
    #expect(middle.layers.allSatisfy { $0.measured["head_density"] == 1 })
  }

  @Test func `more density never means a higher threshold or a lower count`() throws {
    let curve = DensityCurve(
      (1...9).map { .init(density: Double($0) / 10, threshold: 3 / Float($0)) })
    let plans = [0.15, 0.3, 0.65].map { density in
      Self.plan(
        "\(density)", density,
        rule: .threshold(curve.points.last { $0.density < density }?.threshold ?? 0), curve: curve)
    }
    let thresholds = Self.interpolation(plans[0], plans[1], plans[2])
    let rows = Double(Self.architecture.neurons)
    let counts = Self.interpolation(
      Self.plan("a", 0.15, rule: .highest(Int(0.15 * rows))),
      Self.plan("b", 0.65, rule: .highest(Int(0.65 * rows))))
    var last: (threshold: Float, count: Int) = (.infinity, 0)
    for step in 15...65 {
      let density = Double(step) / 100
      let found = try #require(threshold(thresholds.plan(density: density)))
      let plan = counts.plan(density: density)
      guard case .shadow(_, _, .highest(let count)) = plan?.layers[0].neurons else {
        Issue.record("no count at \(density)")
        return
      }
      #expect(found <= last.threshold && count >= last.count)
      #expect(abs(Double(count) - density * rows) <= 1.5)
      last = (found, count)
    }
  }

  @Test func `towards a plan of all rows the chooser's curve leads, then every row`() throws {
    var full = SparsityPlan.uniform("full", layers: Self.architecture.layers)
    full.measured = ["density": 1]
    let curve = DensityCurve([.init(density: 0.8, threshold: -2)])
    let interpolation = Self.interpolation(Self.plan("a", 0.2, curve: curve), full)
    #expect(threshold(interpolation.plan(density: 0.8)) == -2)
    #expect(abs(try #require(threshold(interpolation.plan(density: 0.5))) + 0.6) < 1e-6)
    #expect(interpolation.plan(density: 0.85)?.layers[0].neurons == .nonzero)
  }

  @Test func `where choosers differ the nearer plan's is followed along its own curve`() throws {
    let curve = DensityCurve([.init(density: 0.5, threshold: 0.1)])
    let interpolation = Self.interpolation(
      Self.plan("a", 0.2, bits: 2, curve: curve), Self.plan("b", 0.6, bits: 4, curve: curve))
    for (density, bits) in [(0.3, 2), (0.39, 2), (0.45, 4), (0.5, 4)] {
      let plan = try #require(interpolation.plan(density: density))
      guard case .shadow(let found, _, _) = plan.layers[0].neurons else {
        Issue.record("no shadow at \(density)")
        return
      }
      #expect(found == bits)
    }
  }
}

struct DensityCurveTests {
  @Test func `a curve drops points that contradict their forerunners`() {
    let curve = DensityCurve([
      .init(density: 0.5, threshold: 1), .init(density: 0.1, threshold: 3),
      .init(density: 0.3, threshold: 4), .init(density: 0.6, threshold: 1),
      .init(density: 0.5, threshold: 0),
    ])
    #expect(curve.points.map(\.density) == [0.1, 0.5])
    #expect(DensityCurve(curve.points) == curve)
    #expect(DensityCurve().points.isEmpty)
  }
}
