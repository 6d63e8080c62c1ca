import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels

/// Measures the choosers of one layer while the layers before it are sparse already.
struct LayerMeasurer {
  let engine: Engine
  let backend: CPUBackend
  let text: CalibrationText
  let probe: SparseProbe
  let rule: RuleKind
  let arithmetic: DenseArithmetic
  /// Every chooser that a plan of this run may name.
  let choosers: [ChooserSite: ChooserWeights]
  /// Shares of the mass to miss that damage is measured at, by axis.
  let misses: [RowAxis: [Double]]
  /// Misses at which the cheapest chooser is looked for.
  let relevant: ClosedRange<Double>

  /// The slots of a layer, heads before neurons; where nobody competes, every row is computed.
  ///
  /// - Parameters:
  ///   - layer: the layer.
  ///   - competitors: its choosers.
  ///   - prefix: choices of the layers before; this one and those after compute what is not zero.
  /// - Returns: two slots with all their candidates.
  /// - Throws: ``BackendError``.
  func measure(
    _ layer: Int, _ competitors: [Competitor], after prefix: SparsityPlan
  ) throws(BackendError) -> [MeasuredSlot] {
    let recorder = try record(layer, competitors, prefix)
    let costs = LayerCosts(engine.model, layer: layer, window: prefix.window)
    let reference = try probe.reference(of: Sparsity(plan: prefix, choosers: choosers))
    var slots: [MeasuredSlot] = []
    for axis in RowAxis.allCases {
      var measured = zip(competitors, recorder.curves)
        .filter { $0.0.site.axis == axis }
        .map { MeasuredCompetitor(competitor: $0.0, curve: $0.1) }
      for index in contenders(measured, costs) {
        try addPoints(&measured[index], layer, prefix, reference, costs)
      }
      let candidates = measured.filter { !$0.points.isEmpty }
        .flatMap { $0.candidates(rule: rule, costs: costs) }
      let everything = everyRow(axis, recorder.truth, costs)
      slots.append(
        MeasuredSlot(
          layer: layer, axis: axis, measured: measured, candidates: candidates + [everything]))
    }
    return slots
  }

  /// Scores and contributions of a layer, over windows of text.
  private func record(
    _ layer: Int, _ competitors: [Competitor], _ prefix: SparsityPlan
  ) throws(BackendError) -> CurveRecorder {
    let recorder = CurveRecorder(
      backend: backend, layer: layer, competitors: competitors, rule: rule,
      measure: ContributionMeasure(
        engine.model.layers[layer], engine.model.architecture, arithmetic),
      arithmetic: arithmetic)
    backend.observer = recorder
    defer { backend.observer = nil }
    let sparsity = Sparsity(plan: prefix, choosers: choosers)
    for window in text.windows.prefix(8) {
      // One batch, so that the observer's tokens are all there are.
      let tokens = min(256, window.count, backend.batchCapacity)
      let session = try engine.makeSession(capacity: tokens, mode: .sparse, sparsity: sparsity)
      try session.run(window.prefix(tokens), wanted: .none) { _, _ in }
    }
    recorder.finish()
    return recorder
  }

  /// The choosers that are cheapest, or nearly, at some covered mass: others cannot win.
  private func contenders(
    _ measured: [MeasuredCompetitor], _ costs: LayerCosts
  ) -> [Int] {
    var kept: Set<Int> = []
    for miss in MeasuredCompetitor.grid where relevant.contains(miss) {
      let shares = measured.map {
        $0.candidate(missing: miss, rule: rule, costs: costs).byteShare
      }
      let least = shares.min() ?? 0
      for index in shares.indices where shares[index] <= 1.01 * least { kept.insert(index) }
    }
    return kept.sorted()
  }

  private func addPoints(
    _ chooser: inout MeasuredCompetitor, _ layer: Int, _ prefix: SparsityPlan,
    _ reference: ReferenceRun, _ costs: LayerCosts
  ) throws(BackendError) {
    var points: [(miss: Double, divergence: Double)] = []
    for miss in misses[chooser.competitor.site.axis] ?? [] {
      let candidate = chooser.candidate(missing: miss, rule: rule, costs: costs)
      let missed = max(1 - candidate.mass, 1e-5)
      // Few rows make steps: two masses may come out as one.
      if let last = points.last, missed <= last.miss * 1.05 { continue }
      var plan = prefix
      plan.layers[layer].choose(candidate.policy, on: chooser.competitor.site.axis)
      let sparsity = Sparsity(plan: plan, choosers: choosers)
      let divergence = try probe.divergence(of: sparsity, from: reference)
      points.append((missed, max(divergence, points.last?.divergence ?? 1e-7, 1e-7)))
    }
    chooser.points = points
  }

  /// The choice that loses nothing: every head, or every neuron that is not zero.
  private func everyRow(_ axis: RowAxis, _ truth: MassCurve, _ costs: LayerCosts) -> RowCandidate {
    let active = truth.activeDensity(above: -.infinity)
    return RowCandidate(
      policy: axis == .heads ? .all : .nonzero,
      byteShare: costs.byteShare(axis, density: 1, active: active, chooser: nil),
      weight: costs.weight(axis), divergence: 0, mass: 1, density: 1, recall: 1,
      precision: axis == .heads ? 1 : active)
  }
}

extension LayerPlan {
  mutating func choose(_ policy: RowPolicy, on axis: RowAxis) {
    if axis == .heads { heads = policy } else { neurons = policy }
  }
}

extension MeasuredSlot {
  /// What reports say of the slot's choosers.
  func figures(_ costs: LayerCosts, rule: RuleKind) -> [ChooserFigures] {
    measured.map { chooser in
      let misses = chooser.points.isEmpty ? [0.02, 0.1] : chooser.points.map(\.miss)
      return ChooserFigures(
        layer: layer, axis: axis, chooser: chooser.competitor.word,
        points: misses.map { miss in
          let candidate = chooser.candidate(missing: miss, rule: rule, costs: costs)
          return ChooserFigures.Point(
            mass: candidate.mass, density: candidate.density, byteShare: candidate.byteShare,
            divergence: chooser.points.isEmpty ? nil : candidate.divergence)
        })
    }
  }
}
