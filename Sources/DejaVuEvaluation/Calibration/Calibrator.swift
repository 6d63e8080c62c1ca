package import DejaVu
import DejaVuCPU
import DejaVuCore
package import DejaVuModels

/// How far a calibration has come.
package enum CalibrationStep: Sendable {
  /// The dense run is measured.
  case dense(loss: Double, windows: Int)
  /// A layer's choosers are measured.
  case layer(Int, of: Int)
  /// A whole plan is measured.
  case plan(round: Int, density: Double, lossIncrease: Double, divergence: Double)
  /// Windows of the plan are decoded.
  case decoding(window: Int, of: Int)
}

/// What a calibration found.
package struct Calibration: Sendable {
  package let sparsity: Sparsity
  /// On all windows, through the prompt path.
  package let damage: Damage
  /// On the first of them, through decode.
  package let confirmation: Confirmation
  package let choosers: [ChooserFigures]
}

/// Finds a plan for a target, from measured damage per saved byte.
///
/// 1. Layer by layer, those before being sparse already: every competitor's scores against the
///    true contributions, and for the competitors that read fewest bytes at some covered mass the
///    divergence that a few masses cost.
/// 2. Choice: for each layer and axis the candidate that saves most bytes for its damage, at the
///    price that meets the target; the price is corrected by measuring whole plans.
/// 3. The plan is confirmed by decoding, with deferred keys and the kernels of generated text.
package final class Calibrator {
  package struct Options: Sendable {
    package var target = CalibrationTarget.perplexityIncrease(0.01)
    package var rule = RuleKind.threshold
    /// Bits of the shadows that compete.
    package var bits = [2, 4]
    /// Where shadows may look.
    package var placements: [Placement] = [.afterAttention, .blockAhead, .layerAhead]
    /// Windows and tokens of a window that whole plans are measured on.
    package var windows = 16
    package var length = 512
    /// Windows that single layers are measured on, and that the plan is decoded on.
    package var layerWindows = 2
    package var decodedWindows = 4
    package var name = "1%"

    package init() {}
  }

  private let engine: Engine
  private let backend: CPUBackend
  private let predictors: [PredictorSite: ChooserWeights]
  private let options: Options
  private let report: (CalibrationStep) -> Void

  /// - Parameters:
  ///   - model: on the CPU; nil comes back for any other backend.
  ///   - predictors: trained ones that compete beside shadows.
  ///   - options: what the plan is to achieve.
  ///   - report: called whenever something was measured.
  package init?(
    model: LanguageModel, predictors: [PredictorSite: ChooserWeights] = [:], options: Options,
    report: @escaping (CalibrationStep) -> Void = { _ in }
  ) {
    guard let backend = model.engine.cpu else { return nil }
    engine = model.engine
    self.backend = backend
    self.predictors = predictors
    self.options = options
    self.report = report
  }

  private var layers: Int { engine.model.architecture.layers }

  /// The plan, with its damage on the calibration text.
  ///
  /// - Throws: ``CalibrationError`` where the target cannot be met, ``BackendError``.
  package func run(text: CalibrationText) throws -> Calibration {
    let field = try competitors()
    var choosers: [ChooserSite: ChooserWeights] = [:]
    for competitor in field.joined() { choosers[competitor.site] = competitor.weights }
    let probe = try SparseProbe(
      engine: engine, windows: text.windows, divergenceWindows: options.layerWindows)
    report(.dense(loss: probe.denseLoss, windows: text.windows.count))
    let measurer = LayerMeasurer(
      engine: engine, backend: backend, text: text, probe: probe, rule: options.rule,
      arithmetic: backend.makeArithmetic(), choosers: choosers, misses: misses,
      relevant: relevant)
    var slots: [MeasuredSlot] = []
    var prefix = everyRow
    let setting = PlanSearch.Setting(options.target)
    for layer in 0..<layers {
      let measured = try measurer.measure(layer, field[layer], after: prefix)
      slots += measured
      let chosen = PlanSearch.choose(
        measured, options.target, setting, share: 1 / Double(layers))
      for (slot, candidate) in zip(measured, chosen) {
        prefix.layers[layer].choose(candidate.policy, on: slot.axis)
      }
      report(.layer(layer, of: layers))
    }
    let search = PlanSearch(
      engine: engine, slots: slots, target: options.target, base: everyRow, choosers: choosers,
      probe: probe, report: report)
    return try confirmed(search, text)
  }

  /// All heads, and in every layer the neurons that are not zero.
  private var everyRow: SparsityPlan {
    var plan = SparsityPlan.uniform(options.name, layers: layers)
    plan.weightFormat = engine.model.format.name
    return plan
  }

  /// Misses at which the cheapest chooser is looked for, by which plans end.
  private var relevant: ClosedRange<Double> { 0.005...(options.target.isDensity ? 0.6 : 0.06) }

  /// Shares of the mass to miss that damage is measured at; rows given, they may be many.
  private var misses: [RowAxis: [Double]] {
    options.target.isDensity
      ? [.neurons: [0.015, 0.1, 0.4], .heads: [0.01, 0.06, 0.3]]
      : [.neurons: [0.015, 0.1], .heads: [0.01, 0.06]]
  }

  // Competitors -----------------------------------------------------------------------------------

  /// Layer by layer, all choosers that the target lets compete.
  private func competitors() throws(CalibrationError) -> [[Competitor]] {
    let hasHeads = predictors.keys.contains { $0.axis == .heads }
    if case .densities(_, heads: _?) = options.target, !hasHeads { throw .noHeadPredictors }
    let maker = ShadowMaker(backend: backend)
    return (0..<layers).map { layer in
      var field = predictors.filter { $0.key.layer == layer }.map { site, weights in
        Competitor(
          site: ChooserSite(layer: layer, axis: site.axis, kind: .lowRank(site.placement)),
          placement: site.placement, weights: weights)
      }
      if options.target.choosesNeurons {
        for bits in options.bits {
          let weights = maker.shadow(layer: layer, bits: bits)
          for placement in options.placements
          where RowAxis.neurons.placement(placement, at: layer) == placement {
            field.append(
              Competitor(
                site: ChooserSite(layer: layer, axis: .neurons, kind: .shadow(bits: bits)),
                placement: placement, weights: weights))
          }
        }
      }
      if options.target.choosesNeurons, let weights = maker.nested(layer: layer) {
        field.append(
          Competitor(
            site: ChooserSite(layer: layer, axis: .neurons, kind: .nested),
            placement: .afterAttention, weights: weights))
      }
      return field.filter {
        $0.site.axis == .heads ? options.target.choosesHeads : options.target.choosesNeurons
      }
    }
  }

  // Confirmation ----------------------------------------------------------------------------------

  /// The plan that decoding confirms; a greatest loss that it exceeds there is spent more sparingly.
  private func confirmed(_ search: PlanSearch, _ text: CalibrationText) throws -> Calibration {
    let windows = Array(text.windows.prefix(options.decodedWindows))
    func confirm(_ sparsity: Sparsity) throws -> Confirmation {
      try Confirmation(sparsity, engine: engine, windows: windows) { [report] in
        report(.decoding(window: $0, of: windows.count))
      }
    }
    var cap = 1.0
    for _ in 0..<3 {
      guard cap > 0, let found = try search.run(cap: cap) else { break }
      let confirmation = try confirm(found.sparsity)
      guard case .perplexityIncrease(let increase) = options.target else {
        return finished(found.sparsity, found.damage, confirmation, search.slots)
      }
      // What all windows cost, corrected by what decoding the first of them changes.
      let (allowed, change) = (logarithm(1 + increase), confirmation.change(from: found.damage))
      if found.damage.cost + change <= allowed {
        return finished(found.sparsity, found.damage, confirmation, search.slots)
      }
      cap = min(1 - 1.1 * change / allowed, 0.9 * cap)
    }
    // Nothing sparse is within the loss: the rows that are not zero, at none.
    let exact = Sparsity(plan: everyRow, choosers: [:])
    return finished(
      exact, try search.probe.damage(of: exact), try confirm(exact), search.slots)
  }

  private func finished(
    _ sparsity: Sparsity, _ damage: Damage, _ confirmation: Confirmation, _ slots: [MeasuredSlot]
  ) -> Calibration {
    var plan = sparsity.plan
    plan.measured = [
      "density": damage.tally.density(of: engine.model),
      "mlp_density": damage.tally.neuronDensity, "head_density": damage.tally.headDensity,
      "perplexity_increase": damage.perplexityIncrease, "divergence": damage.divergence,
      "tokens": Double(damage.tokens),
      "decode_perplexity_increase": exponential(confirmation.lossIncrease) - 1,
      "decode_standard_error": confirmation.standardError,
      "decode_tokens": Double(confirmation.tokens),
      "mlp_byte_share": confirmation.mlpByteShare, "byte_share": confirmation.byteShare,
    ]
    return Calibration(
      sparsity: Sparsity(plan: plan, choosers: sparsity.choosers), damage: damage,
      confirmation: confirmation,
      choosers: slots.flatMap { slot in
        let costs = LayerCosts(engine.model, layer: slot.layer, window: plan.window)
        return slot.figures(costs, rule: options.rule)
      })
  }
}

extension Confirmation {
  /// Mean change of the loss from the prompt path to decode, on the windows that both read.
  func change(from damage: Damage) -> Double {
    let pairs = zip(windowIncreases, damage.windowIncreases)
    return pairs.reduce(0) { $0 + $1.0 - $1.1 } / Double(max(windowIncreases.count, 1))
  }
}
