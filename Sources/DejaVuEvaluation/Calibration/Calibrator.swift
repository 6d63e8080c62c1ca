package import DejaVu
import DejaVuCPU
import DejaVuCore
package import DejaVuModels

/// How far a calibration has come.
package enum CalibrationStep: Sendable {
  /// The dense run is measured.
  case dense(loss: Double, windows: Int)
  /// A layer's choosers are measured.
  case layer(Int, of: Int, bits: Int)
  /// A whole plan is measured.
  case plan(round: Int, mlpByteShare: Double, lossIncrease: Double, divergence: Double)
}

/// Finds a plan for a target loss: thresholds per layer, from measured damage per saved byte.
///
/// 1. Curves: on calibration text, each chooser's scores against the true contributions.
/// 2. Damage: for each layer alone, the divergence that a few covered masses cost.
/// 3. Choice: per layer the candidate that saves most bytes for its damage, at the price that
///    spends the target; the price is corrected by measuring whole plans on the same tokens.
package final class Calibrator {
  package struct Options: Sendable {
    /// Relative increase of perplexity that the plan may cost.
    package var perplexityIncrease = 0.01
    /// Bits of the shadows that compete.
    package var bits = [4]
    /// Windows and tokens of a window that whole plans are measured on.
    package var windows = 16
    package var length = 512
    /// Windows that single layers are measured on.
    package var layerWindows = 2
    package var name = "1%"

    package init() {}
  }

  private let model: LanguageModel
  private let engine: Engine
  private let backend: CPUBackend
  private let options: Options
  private let report: (CalibrationStep) -> Void
  private var shadows: [ChooserSite: ChooserWeights] = [:]

  package init?(model: LanguageModel, options: Options, report: @escaping (CalibrationStep) -> Void)
  {
    guard let backend = model.engine.cpu else { return nil }
    self.model = model
    engine = model.engine
    self.backend = backend
    self.options = options
    self.report = report
  }

  private var layers: Int { engine.model.architecture.layers }

  /// The plan, and its damage on the calibration text.
  package func run(text: CalibrationText) throws(BackendError) -> (Sparsity, Damage) {
    let maker = ShadowMaker(backend: backend)
    for bits in options.bits {
      for layer in 0..<layers {
        shadows[Self.site(layer, bits)] = maker.shadow(layer: layer, bits: bits)
      }
    }
    let probe = try SparseProbe(
      engine: engine, windows: text.windows, divergenceWindows: options.layerWindows)
    report(.dense(loss: probe.denseLoss, windows: text.windows.count))
    var candidates: [[NeuronCandidate]] = Array(repeating: [], count: layers)
    for bits in options.bits {
      let curves = try curves(bits: bits, text: text)
      for layer in 0..<layers {
        candidates[layer] += try self.candidates(layer, bits, curves[layer], probe)
      }
    }
    for layer in 0..<layers { candidates[layer].append(exactCandidate(layer)) }
    return try search(candidates, probe)
  }

  private static func site(_ layer: Int, _ bits: Int) -> ChooserSite {
    ChooserSite(layer: layer, axis: .neurons, kind: .shadow(bits: bits))
  }

  // Curves ----------------------------------------------------------------------------------------

  /// Scores and contributions of every layer while the model runs dense.
  private func curves(bits: Int, text: CalibrationText) throws(BackendError) -> [MassCurve] {
    let architecture = engine.model.architecture
    var curves = Array(repeating: MassCurve(neurons: architecture.neurons), count: layers)
    let open = SparsityPlan.uniform(
      "open", layers: layers, neurons: .shadow(bits: bits, .afterAttention, .threshold(-.infinity)))
    var contributions = [Float](repeating: 0, count: architecture.neurons)
    var tokens = 0
    let observer = ActivationObserver { [backend] layer, values, stride in
      let norms = backend.downNorms(layer: layer)
      for t in Swift.stride(from: 1, to: tokens, by: 4) {
        for i in contributions.indices {
          contributions[i] = abs(values[t * stride + i]) * norms[i]
        }
        contributions.withUnsafeBufferPointer { values in
          curves[layer].add(
            scores: backend.lastScores(token: t, rows: values.count), contributions: values,
            samplesAll: true)
        }
      }
    }
    backend.observer = observer
    defer { backend.observer = nil }
    let sparsity = Sparsity(plan: open, choosers: shadows)
    for window in text.windows.prefix(8) {
      // One batch, so that the observer's tokens are all there are.
      tokens = min(256, window.count, backend.batchCapacity)
      let session = try engine.makeSession(capacity: tokens, mode: .sparse, sparsity: sparsity)
      try session.run(window.prefix(tokens), wanted: .none) { _, _ in }
    }
    for layer in 0..<layers { curves[layer].sort() }
    return curves
  }

  // Candidates ------------------------------------------------------------------------------------

  private func candidates(
    _ layer: Int, _ bits: Int, _ curve: MassCurve, _ probe: SparseProbe
  ) throws(BackendError) -> [NeuronCandidate] {
    let masses = [0.998, 0.995, 0.99, 0.985, 0.98, 0.97, 0.96, 0.95, 0.93, 0.91, 0.88, 0.85, 0.8]
    let measured = [0.985, 0.9]
    var points: [(miss: Double, divergence: Double)] = []
    for mass in measured {
      let plan = plan(layer: layer, policy(bits, curve.threshold(covering: mass)))
      let damage = try probe.damage(of: plan, windowCount: options.layerWindows)
      points.append((1 - mass, max(damage.divergence, 1e-7)))
    }
    report(.layer(layer, of: layers, bits: bits))
    return masses.map { mass in
      let threshold = curve.threshold(covering: mass)
      return NeuronCandidate(
        policy: policy(bits, threshold), byteShare: byteShare(layer, bits, curve, threshold),
        divergence: Self.interpolate(points, at: 1 - mass), mass: mass,
        density: curve.density(above: threshold), recall: curve.recall(above: threshold),
        precision: curve.precision(above: threshold))
    }
  }

  private func exactCandidate(_ layer: Int) -> NeuronCandidate {
    NeuronCandidate(
      policy: .nonzero, byteShare: 0.6, divergence: 0, mass: 1, density: 1, recall: 1, precision: 0)
  }

  private func policy(_ bits: Int, _ threshold: Float) -> RowPolicy {
    .shadow(bits: bits, .afterAttention, .threshold(threshold))
  }

  /// Chooser, chosen up rows and active down rows over all of the layer's MLP bytes.
  private func byteShare(
    _ layer: Int, _ bits: Int, _ curve: MassCurve, _ threshold: Float
  ) -> Double {
    let bundle = engine.model.layers[layer].bundle
    let whole = Double(bundle.matrix.rows * bundle.matrix.rowBytes)
    let chooser = Double(shadows[Self.site(layer, bits)]?.byteCount ?? 0) / whole
    let kinds = Double(bundle.rowsPerNeuron)
    return chooser + curve.density(above: threshold) * (kinds - 1) / kinds
      + curve.activeDensity(above: threshold) / kinds
  }

  /// Log-log interpolation of measured divergences.
  static func interpolate(
    _ points: [(miss: Double, divergence: Double)], at miss: Double
  ) -> Double {
    let upper = points.firstIndex { $0.miss >= miss } ?? points.count - 1
    let index = min(max(upper, 1), points.count - 1)
    let (a, b) = (points[index - 1], points[index])
    let slope = logarithm(b.divergence / a.divergence) / logarithm(b.miss / a.miss)
    return a.divergence * power(miss / a.miss, max(slope, 0.2))
  }

  // Search ------------------------------------------------------------------------------------------

  /// All heads, and in every layer the down rows that are not zero.
  private var emptyPlan: SparsityPlan {
    var plan = SparsityPlan.uniform(options.name, layers: layers)
    plan.weightFormat = engine.model.dtype.rawValue
    return plan
  }

  /// The empty plan but for one layer.
  private func plan(layer: Int, _ policy: RowPolicy) -> Sparsity {
    var plan = emptyPlan
    plan.layers[layer].neurons = policy
    return Sparsity(plan: plan, choosers: shadows)
  }

  private func search(
    _ candidates: [[NeuronCandidate]], _ probe: SparseProbe
  ) throws(BackendError) -> (Sparsity, Damage) {
    let target = logarithm(1 + options.perplexityIncrease)
    var budget = target
    var best: (Sparsity, Damage)?
    for round in 0..<5 {
      let chosen = CandidateSearch.choose(candidates, budget: budget)
      let share = chosen.reduce(0) { $0 + $1.byteShare } / Double(layers)
      var plan = emptyPlan
      for (layer, candidate) in chosen.enumerated() {
        plan.layers[layer].neurons = candidate.policy
        plan.layers[layer].measured = candidate.measured
      }
      let damage = try probe.damage(of: Sparsity(plan: plan, choosers: shadows))
      plan.measured = [
        "perplexity_increase": damage.perplexityIncrease, "divergence": damage.divergence,
        "mlp_byte_share": share, "tokens": Double(damage.tokens),
      ]
      let sparsity = Sparsity(plan: plan, choosers: shadows)
      report(
        .plan(
          round: round, mlpByteShare: share, lossIncrease: damage.lossIncrease,
          divergence: damage.divergence))
      if damage.lossIncrease <= target * 0.95 { best = (sparsity, damage) }
      budget *= min(max(0.93 * target / max(damage.lossIncrease, 1e-6), 0.5), 2)
    }
    if let best { return best }
    let fallback = Sparsity(plan: emptyPlan, choosers: shadows)
    return (fallback, try probe.damage(of: fallback))
  }
}

/// Hands a prompt's activations on, layer by layer.
private final class ActivationObserver: StepObserver {
  private let body: (_ layer: Int, _ values: UnsafePointer<Float>, _ stride: Int) -> Void

  init(_ body: @escaping (_ layer: Int, _ values: UnsafePointer<Float>, _ stride: Int) -> Void) {
    self.body = body
  }

  func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    if site == .activations { body(layer, values, stride) }
  }
}
