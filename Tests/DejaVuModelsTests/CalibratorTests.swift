import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import DejaVuTestSupport
import Testing

/// Calibration on the model in the box: short, so the plans are rough, but the laws hold.
@Suite(.serialized)
struct CalibratorTests {
  private static let model = try? LanguageModel(
    path: Golden.defaultModel.modelFolder, backend: .cpu(CPUOptions(threads: 2)))

  private let model: LanguageModel
  private let text: CalibrationText

  init() throws {
    model = try #require(Self.model)
    let ids = try Golden.defaultModel.cases().flatMap(\.ids)
    let length = min(56, ids.count / 2)
    text = CalibrationText(windows: [Array(ids[..<length]), Array(ids[length..<2 * length])])
  }

  private func options(_ target: CalibrationTarget) -> Calibrator.Options {
    var options = Calibrator.Options()
    options.target = target
    options.bits = [4]
    options.placements = [.afterAttention]
    (options.layerWindows, options.decodedWindows) = (1, 1)
    return options
  }

  private func calibrate(
    _ options: Calibrator.Options, _ predictors: [PredictorSite: ChooserWeights] = [:]
  ) throws -> Calibration {
    let calibrator = try #require(
      Calibrator(model: model, predictors: predictors, options: options))
    return try calibrator.run(text: text)
  }

  /// Predictors of heads of random weights, one for each layer.
  private var headPredictors: [PredictorSite: ChooserWeights] {
    var random = SeededRandom(seed: 4)
    let a = model.architecture
    let pairs = (0..<a.layers).map { layer in
      (
        PredictorSite(axis: .heads, layer: layer, placement: .same),
        ChooserWeights(
          first: .random(
            rows: 64, columns: PredictorEntry.columns(a), bits: 4, scale: 0.1, &random),
          second: .random(rows: a.kvHeads, columns: 64, bits: 4, scale: 0.1, &random),
          norm: .plain)
      )
    }
    return Dictionary(uniqueKeysWithValues: pairs)
  }

  @Test(arguments: RuleKind.allCases)
  func `a density is what the plan computes, and plans between have theirs`(
    rule: RuleKind
  ) throws {
    var found: [Calibration] = []
    for density in [0.45, 0.7] {
      var options = options(.density(density))
      options.rule = rule
      let calibration = try calibrate(options)
      let computed = calibration.damage.tally.density(of: model.loaded.model)
      #expect(abs(computed / density - 1) < 0.03, "\(computed) for \(density)")
      #expect(calibration.sparsity.plan.density == computed)
      for layer in calibration.sparsity.plan.layers {
        guard case .shadow(4, .afterAttention, let chosen) = layer.neurons else { continue }
        if case .highest = chosen { #expect(rule == .count) } else { #expect(rule == .threshold) }
      }
      found.append(calibration)
    }
    #expect(found[0].damage.divergence > found[1].damage.divergence)
    let interpolation = PlanInterpolation(
      found.map(\.sparsity.plan), architecture: model.architecture)
    let range = try #require(interpolation.range)
    var last = 0.0
    for share in [0.0, 0.25, 0.5, 0.75, 1] {
      let asked = range.lowerBound + share * (range.upperBound - range.lowerBound)
      let plan = try #require(interpolation.plan(density: asked))
      let sparsity = Sparsity(plan: plan, choosers: found[0].sparsity.choosers)
      let probe = try SparseProbe(
        engine: model.engine, windows: text.windows, divergenceWindows: 0)
      let tally = try probe.damage(of: sparsity).tally
      let computed = tally.density(of: model.loaded.model)
      #expect(abs(computed - asked) < 0.03, "\(computed) for \(asked)")
      #expect(computed > last)
      last = computed
    }
  }

  @Test func `a loss that nothing sparse keeps to gives the rows that are not zero`() throws {
    let found = try calibrate(options(.perplexityIncrease(1e-9)))
    #expect(abs(found.damage.lossIncrease) < 1e-5)
    #expect(found.confirmation.mlpByteShare < 0.8)
    let lossless = found.sparsity.plan.layers.allSatisfy { $0.neurons == .nonzero }
    #expect(lossless || found.damage.lossIncrease <= 1e-9)
  }

  @Test func `a loss is kept, and decoding confirms the plan`() throws {
    let found = try calibrate(options(.perplexityIncrease(0.05)))
    let plan = found.sparsity.plan
    #expect(found.damage.perplexityIncrease <= 0.05)
    #expect(found.damage.divergence <= 0.05, "a few lucky tokens are not what a plan costs")
    #expect(plan.measured["perplexity_increase"] == found.damage.perplexityIncrease)
    #expect(found.confirmation.tokens == text.windows[0].count - 1)
    #expect(abs(found.confirmation.lossIncrease - found.damage.windowIncreases[0]) < 0.01)
    #expect(found.confirmation.mlpByteShare < 0.5 && found.confirmation.headDensity == 1)
    #expect(plan.weightFormat == "float16" && plan.layers.allSatisfy { $0.heads == .all })
    let reader = PlanReader(architecture: model.architecture, path: "p")
    #expect(try reader.plans(in: PlanText.text([plan])) == [plan])
  }

  @Test func `heads compete where something predicts them, and stay where they cannot be spared`()
    throws
  {
    let half = try calibrate(options(.densities(neurons: nil, heads: 0.5)), headPredictors)
    // Twelve heads of few tokens: a threshold cannot do better.
    #expect(abs(half.damage.tally.headDensity - 0.5) < 0.1)
    #expect(half.damage.tally.neuronDensity == 1)
    #expect(half.sparsity.plan.layers.contains { $0.heads != .all })
    let heads = half.choosers.filter { $0.axis == .heads }
    #expect(heads.count == model.architecture.layers && heads.allSatisfy(\.wasMeasured))
    // Random predictors know nothing: under a small loss no head may go.
    let careful = try calibrate(options(.perplexityIncrease(0.01)), headPredictors)
    #expect(careful.damage.perplexityIncrease <= 0.01)
    #expect(careful.confirmation.headDensity > 0.9)
  }

  @Test func `what cannot be had is said`() throws {
    #expect(throws: CalibrationError.noHeadPredictors) {
      try calibrate(options(.densities(neurons: nil, heads: 0.5)))
    }
    let error = #expect(throws: CalibrationError.self) {
      try calibrate(options(.density(0.2)))
    }
    guard case .densityTooLow(0.2, let least, hasHeadPredictors: false) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    // All heads are a third of the bytes.
    #expect(least > 1.0 / 3 && least < 0.4)
    #expect("\(CalibrationError.noHeadPredictors)".contains("dejavu train"))
  }
}

struct CrossoverTests {
  @Test(
    arguments: [
      (1.0, 1.0, nil, RunMode.dense), (1, 0.98, nil, .dense), (1, 0.5, nil, .exact),
      (1, 0.9, 0.8, .sparse), (1, 0.8, 0.9, .exact), (1, 1.2, 0.96, .sparse),
      (1, 1.2, 0.98, .dense),
    ] as [(Double, Double, Double?, RunMode)])
  func `a mode is taken that is faster than dense by more than noise`(
    dense: Double, exact: Double, sparse: Double?, mode: RunMode
  ) {
    let crossover = Crossover(dense: dense, exact: exact, sparse: sparse)
    #expect(crossover.fastest.mode == mode)
    #expect(crossover.fastest.gain >= 0.97)
  }
}
