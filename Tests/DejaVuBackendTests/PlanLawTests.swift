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

  @Test(arguments: [TinyModel.opt, .optPostNorm, .llamaReLU, .gpt2], [Float(0.05), 0.3])
  func `an oracle keeps the neurons whose contribution is above its threshold`(
    tiny: TinyModel, threshold: Float
  ) throws {
    let story = PlanStory(tiny)
    let plan = story.plan(neurons: .oracle(threshold))
    let reference = ReferenceBackend(model: story.model)
    let expected = try story.run(
      DecoderSession(
        decoder: Decoder(backend: reference), capacity: 64, mode: .sparse,
        sparsity: Sparsity(plan: plan)))
    #expect(reference.tally.neuronRows > 0)
    #expect(reference.tally.neuronRows < reference.tally.neuronRowsOfAll)
    for instructionSet in InstructionSet.available {
      let backend = try story.backend(threads: 2, instructionSet)
      let found = try story.logits(.sparse, plan, on: backend)
      try expectClose(found, expected, within: .logits(cache: .float32), "\(instructionSet)")
      #expect(backend.tally.neuronRows == reference.tally.neuronRows)
      #expect(backend.tally.neuronRowsOfAll == reference.tally.neuronRowsOfAll)
    }
  }

  @Test func `an oracle's kept neurons are those that a direct count finds`() throws {
    let story = PlanStory(.llamaReLU)
    let backend = try story.backend(threads: 1)
    let a = story.model.architecture
    var expected = 0
    let observer = ActivationObserver { layer, values, stride in
      let down = story.model.layers[layer].bundle.down
      for neuron in 0..<a.neurons {
        var squares = 0.0
        for column in 0..<a.hidden {
          squares += Double(down.element(neuron, column)) * Double(down.element(neuron, column))
        }
        for t in 0..<story.prompt {
          let size = abs(Double(values[t * stride + neuron])) * squares.squareRoot()
          if size > 0.1 { expected += 1 }
        }
      }
    }
    backend.observer = observer
    let session = try DecoderSession(
      decoder: Decoder(backend: backend), capacity: 64, mode: .sparse,
      sparsity: Sparsity(plan: story.plan(neurons: .oracle(0.1))))
    try session.run(story.tokens.prefix(story.prompt), wanted: .last) { _, _ in }
    #expect(expected > 0)
    #expect(backend.tally.neuronRows == expected)
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

/// A prompt, single tokens and a truncation under a plan.
private final class PlanStory {
  let model: PackedModel
  let tokens: [TokenID]
  let prompt = 13

  init(_ tiny: TinyModel) {
    model = tiny.model()
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
    var choosers: [ChooserSite: ChooserWeights] = [:]
    for (layer, rows) in (plan?.layers ?? []).enumerated() {
      guard case .shadow(let bits, _, _) = rows.neurons else { continue }
      choosers[ChooserSite(layer: layer, axis: .neurons, kind: .shadow(bits: bits))] =
        ShadowMaker(backend: backend).shadow(layer: layer, bits: bits)
    }
    let sparsity = plan.map { Sparsity(plan: $0, choosers: choosers) }
    return try run(
      DecoderSession(
        decoder: Decoder(backend: backend), capacity: 64, mode: mode, sparsity: sparsity,
        defersKeys: defersKeys))
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
