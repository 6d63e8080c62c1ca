import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuReference
import DejaVuTestSupport
import Testing

/// Laws of plans that run through the one decoder.
struct PlanLawTests {
  static let models: [TinyModel] = [.opt, .optPostNorm, .llamaGrouped, .llamaReLU, .neoX]

  @Test(arguments: models)
  func `thresholds below every score and full lists are the dense model bit for bit`(
    tiny: TinyModel
  ) throws {
    let story = PlanStory(tiny)
    let a = story.model.architecture
    let dense = try story.logits(.dense, nil)
    try expectSameBits(try story.logits(.exact, nil), dense, "exact")
    let heads = RowPolicy.fixed(Array(0..<Int32(a.kvHeads)))
    let full = RowPolicy.fixed(Array(0..<Int32(a.neurons)))
    try expectSameBits(
      try story.logits(.sparse, story.plan(heads: heads, neurons: full)), dense, "full lists")
    for placement in Placement.allCases {
      for rule in [ChoiceRule.threshold(-.infinity), .highest(a.neurons)] {
        let plan = story.plan(neurons: .shadow(bits: 4, placement, rule))
        try expectSameBits(
          try story.logits(.sparse, plan), dense, "\(placement) with \(rule)")
      }
    }
  }

  @Test(arguments: models)
  func `threads do not change a bit of a planned run`(tiny: TinyModel) throws {
    let story = PlanStory(tiny)
    let plan = story.plan(
      heads: .random(density: 0.6, seed: 3),
      neurons: .shadow(bits: 2, .blockAhead, .threshold(0.02)))
    let alone = try story.logits(.sparse, plan, threads: 1)
    for threads in [2, 3] {
      try expectSameBits(
        try story.logits(.sparse, plan, threads: threads), alone, "\(threads) threads")
    }
    let dense = try story.logits(.dense, nil)
    #expect(alone != dense, "the plan left nothing out")
  }

  @Test(arguments: models)
  func `fetching down rows with their up rows changes no bit`(tiny: TinyModel) throws {
    let story = PlanStory(tiny)
    var plan = story.plan(neurons: .shadow(bits: 4, .afterAttention, .highest(100)))
    let expected = try story.logits(.sparse, plan)
    for layer in plan.layers.indices { plan.layers[layer].measured = ["precision": 1] }
    try expectSameBits(try story.logits(.sparse, plan), expected, "fetched early")
  }

  @Test(arguments: models, [1, 3, 16])
  func `a plan's deferred keys equal eager ones bit for bit`(tiny: TinyModel, window: Int) throws {
    let story = PlanStory(tiny)
    var plan = story.plan(
      heads: .random(density: 0.4, seed: 9),
      neurons: .shadow(bits: 4, .afterAttention, .highest(90)))
    plan.window = window
    let eager = try story.logits(.sparse, plan, defersKeys: false)
    try expectSameBits(
      try story.logits(.sparse, plan, threads: 3), eager, "a window of \(window)")
  }
}

/// A prompt, single tokens and a truncation under a plan.
final class PlanStory {
  let model: PackedModel
  let tokens: [TokenID]
  let prompt = 13

  convenience init(_ tiny: TinyModel, dtype: DType = .float32) {
    self.init(model: tiny.model(dtype: dtype))
  }

  init(model: PackedModel) {
    self.model = model
    var random = SeededRandom(seed: 21)
    let vocabulary = UInt64(model.architecture.vocabulary)
    tokens = (0..<40).map { _ in TokenID(random.next() % vocabulary) }
  }

  func plan(heads: RowPolicy = .all, neurons: RowPolicy = .nonzero) -> SparsityPlan {
    .uniform("law", layers: model.architecture.layers, heads: heads, neurons: neurons)
  }

  func backend(
    threads: Int, _ instructionSet: InstructionSet = .best
  ) throws -> CPUBackend {
    let options = CPUOptions(
      threads: threads, instructionSet: instructionSet, multipliesPromptInBFloat16: false,
      batchCapacity: 32)
    return try CPUBackend(model: model, options: options)
  }

  func logits(
    _ mode: RunMode, _ plan: SparsityPlan?, threads: Int = 2, defersKeys: Bool = true,
    on given: CPUBackend? = nil
  ) throws -> [[Float]] {
    let backend = try given ?? backend(threads: threads)
    return try run(
      DecoderSession(
        decoder: Decoder(backend: backend), capacity: 64, mode: mode,
        sparsity: plan.map { sparsity($0, on: backend) }, defersKeys: defersKeys))
  }

  /// The plan with the shadows and halves that it names.
  func sparsity(_ plan: SparsityPlan, on backend: CPUBackend) -> Sparsity {
    var choosers: [ChooserSite: ChooserWeights] = [:]
    for (layer, rows) in plan.layers.enumerated() {
      let maker = ShadowMaker(backend: backend)
      guard let kind = rows.neurons.chooser?.kind else { continue }
      let site = ChooserSite(layer: layer, axis: .neurons, kind: kind)
      switch kind {
      case .shadow(let bits): choosers[site] = maker.shadow(layer: layer, bits: bits)
      case .nested: choosers[site] = maker.nested(layer: layer)
      case .lowRank: preconditionFailure("nothing trained them")
      }
    }
    return Sparsity(plan: plan, choosers: choosers)
  }

  func run(_ session: any Session) throws -> [[Float]] {
    var rows: [[Float]] = []
    try session.run(tokens.prefix(prompt), wanted: .all) { rows.append(Array($1)) }
    for token in tokens[prompt...] { rows.append(Array(try session.decode(token))) }
    session.truncate(to: 20)
    for token in tokens[..<9] { rows.append(Array(try session.decode(token))) }
    return rows
  }
}
