import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuReference
import DejaVuTestSupport
import Testing

/// Laws of selectors that rank rows after computing them, and of those that ignore the context.
struct SelectorLawTests {
  static let models: [TinyModel] = [.opt, .optPostNorm, .llamaGrouped, .llamaReLU, .neoX]

  @Test(arguments: models)
  func `ranking that leaves nothing out is the dense model`(tiny: TinyModel) throws {
    let story = PlanStory(tiny)
    let a = story.model.architecture
    let dense = try story.logits(.dense, nil)
    let everyHead = [ChoiceRule.threshold(-1), .highest(a.kvHeads)]
    let everyNeuron = [ChoiceRule.threshold(-.infinity), .highest(a.neurons)]
    var policies: [(heads: RowPolicy, neurons: RowPolicy)] = []
    for (heads, neurons) in zip(everyHead, everyNeuron) {
      policies += [(.oracle(heads), .oracle(neurons)), (.all, .nearest(neurons))]
    }
    for (heads, neurons) in policies {
      let found = try story.logits(.sparse, story.plan(heads: heads, neurons: neurons))
      let claim = "\(heads) and \(neurons)"
      if a.activation == .relu {
        try expectSameBits(found, dense, claim)
      } else {
        // Activations are computed many at a time instead of one by one.
        try expectClose(found, dense, within: .logits(cache: .float32), claim)
      }
    }
  }

  static let rankings: [(heads: RowPolicy, neurons: RowPolicy)] = [
    (.all, .oracle(.threshold(0.05))), (.all, .oracle(.highest(30))),
    (.all, .nearest(.highest(30))), (.all, .nearest(.threshold(0.2))),
    (.oracle(.highest(1)), .nearest(.highest(50))),
    // Nothing is above: blocks add nothing.
    (.oracle(.threshold(1e9)), .oracle(.threshold(1e9))),
  ]
  static let cases: [(TinyModel, DType)] =
    TinyModel.allCases.map { ($0, .float32) }
    + [(.opt, .float16), (.opt, .bfloat16), (.llamaReLU, .float16), (.llamaReLU, .bfloat16)]

  @Test(arguments: cases)
  func `every instruction set ranks rows as the reference does`(
    tiny: TinyModel, dtype: DType
  ) throws {
    let story = PlanStory(tiny, dtype: dtype)
    for (heads, neurons) in Self.rankings {
      let plan = Sparsity(plan: story.plan(heads: heads, neurons: neurons))
      let reference = ReferenceBackend(model: story.model)
      let expected = RowRecord(
        try DecoderSession(
          decoder: Decoder(backend: reference), capacity: 64, mode: .sparse, sparsity: plan))
      try story.run(expected)
      #expect(reference.tally.rowsLeftOut > 0, "\(heads), \(neurons)")
      for instructionSet in InstructionSet.available {
        let options = CPUOptions(
          threads: 2, instructionSet: instructionSet, cacheType: .float32,
          multipliesPromptInBFloat16: false, batchCapacity: 32)
        let backend = try CPUBackend(model: story.model, options: options)
        let found = RowRecord(
          try DecoderSession(
            decoder: Decoder(backend: backend), capacity: 64, mode: .sparse, sparsity: plan))
        try story.run(found)
        let claim = "\(heads), \(neurons), \(instructionSet)"
        #expect(found.sets == expected.sets, "\(claim)")
        try expectClose(
          found.logits, expected.logits, within: .logits(cache: .float32), claim)
        #expect(backend.tally.neuronRows == reference.tally.neuronRows, "\(claim)")
        #expect(backend.tally.headRows == reference.tally.headRows, "\(claim)")
      }
    }
  }

  @Test(arguments: [TinyModel.opt, .optPostNorm, .llamaReLU, .gpt2], [1, 30])
  func `an oracle of a count keeps the neurons that a direct count finds`(
    tiny: TinyModel, count: Int
  ) throws {
    let trial = try PromptTrial(tiny, neurons: .oracle(.highest(count)))
    let down = trial.story.model.layers[0].bundle.down
    let norms = (0..<down.rows).map { neuron in
      (0..<down.columns).reduce(0.0) {
        $0 + Double(down.element(neuron, $1)) * Double(down.element(neuron, $1))
      }.squareRoot()
    }
    for t in 0..<trial.story.prompt {
      let activations = try #require(trial.seen[.activations])[t]
      let sizes = activations.indices.map { abs(Double(activations[$0])) * norms[$0] }
      let best = sizes.indices.sorted { sizes[$0] > sizes[$1] }.prefix(count)
      let expected = best.filter { sizes[$0] > 0 }.map { Int32($0) }.sorted()
      #expect(trial.rows(token: t) == expected)
    }
  }

  @Test(arguments: [TinyModel.opt, .llamaReLU, .gpt2, .llamaGrouped], [1, 30])
  func `nearest neurons are those of a search through every row`(
    tiny: TinyModel, count: Int
  ) throws {
    let trial = try PromptTrial(tiny, neurons: .nearest(.highest(count)))
    let weights = trial.story.model.layers[0]
    let row = weights.bundle.gate ?? weights.bundle.up
    let bias = weights.bundle.gate == nil ? weights.upBias : weights.gateBias
    let reference = ReferenceBackend(model: trial.story.model, batchCapacity: 1)
    let buffer = reference.makeBuffer(width: row.columns)
    let batch = StepBatch<ReferenceCache>()
    batch.append([0], cache: try reference.makeCache(capacity: 1, window: 0), wanted: .none)
    reference.begin(batch)
    for t in 0..<trial.story.prompt {
      buffer[0] = Array(try #require(trial.seen[.mlpInput])[t].prefix(row.columns))
      reference.normalize(buffer, by: .mlp(0), into: buffer)
      let products = (0..<row.rows).map { neuron in
        (0..<row.columns).reduce(bias.map { Double($0.base[neuron]) } ?? 0) {
          $0 + Double(row.element(neuron, $1)) * Double(buffer[0][$1])
        }
      }
      let best = products.indices.sorted { products[$0] > products[$1] }.prefix(count)
      #expect(trial.rows(token: t) == best.map { Int32($0) }.sorted())
    }
  }

  @Test func `fixed rows are the same for every token`() throws {
    let story = PlanStory(.opt)
    let (heads, neurons): ([Int32], [Int32]) = ([1, 3], [0, 5, 77, 171])
    let plan = story.plan(heads: .fixed(heads), neurons: .fixed(neurons))
    let record = RowRecord(
      try DecoderSession(
        decoder: Decoder(backend: try story.backend(threads: 2)), capacity: 64, mode: .sparse,
        sparsity: Sparsity(plan: plan)))
    try story.run(record)
    #expect(!record.sets.isEmpty && record.sets.allSatisfy { $0 == heads || $0 == neurons })
  }

  @Test(arguments: [TinyModel.opt, .llamaReLU])
  func `a set chosen from the embedding depends on the token and its position alone`(
    tiny: TinyModel
  ) throws {
    let story = PlanStory(tiny)
    let backend = try story.backend(threads: 2)
    let plan = story.plan(neurons: .shadow(bits: 8, .embedding, .highest(40)))
    let sparsity = story.sparsity(plan, on: backend)
    /// Sets of all layers for `token` behind `context`.
    func sets(_ context: [TokenID], _ token: TokenID) throws -> [[Int32]?] {
      let session = try DecoderSession(
        decoder: Decoder(backend: backend), capacity: 64, mode: .sparse, sparsity: sparsity)
      try session.run(context[...], wanted: .none) { _, _ in }
      _ = try session.decode(token)
      return story.model.architecture.layerRange.map {
        session.rows(.neurons, layer: $0, token: 0)
      }
    }
    let (one, other) = (Array(story.tokens[..<6]), Array(story.tokens[10..<16]))
    let expected = try sets(one, 7)
    #expect(try sets(other, 7) == expected)
    #expect(expected.allSatisfy { $0?.count == 40 } && Set(expected).count > 1)
    #expect(try sets(one, 8) != expected, "another token has the same sets")
    if tiny == .opt {
      #expect(try sets(Array(one.dropLast()), 7) != expected, "the position says nothing")
    }
  }
}

extension Architecture {
  fileprivate var layerRange: Range<Int> { 0..<layers }
}

extension Tally {
  fileprivate var rowsLeftOut: Int {
    headRowsOfAll - headRows + neuronRowsOfAll - neuronRows
  }
}

/// A session whose logits and sets are kept.
final class RowRecord {
  let session: any Session
  private(set) var logits: [[Float]] = []
  private(set) var sets: [[Int32]] = []

  init(_ session: any Session) { self.session = session }

  /// Continues as ``PlanStory/run(_:)`` does, and keeps what came out of each batch.
  func note(_ rows: [[Float]]) {
    logits += rows
    for layer in 0..<session.architecture.layers {
      for axis in RowAxis.allCases {
        for token in rows.indices {
          if let set = session.rows(axis, layer: layer, token: token) { sets.append(set) }
        }
      }
    }
  }
}

extension PlanStory {
  func run(_ record: RowRecord) throws {
    let session = record.session
    var rows: [[Float]] = []
    try session.run(tokens.prefix(prompt), wanted: .all) { rows.append(Array($1)) }
    record.note(rows)
    for token in tokens[prompt..<prompt + 4] {
      record.note([Array(try session.decode(token))])
    }
  }
}

/// A prompt under one policy of neurons; what passed through its first layer is kept.
private final class PromptTrial: StepObserver {
  let story: PlanStory
  private(set) var seen: [StepSite: [[Float]]] = [:]
  private let session: DecoderSession<CPUBackend>

  init(_ tiny: TinyModel, neurons: RowPolicy) throws {
    story = PlanStory(tiny)
    let backend = try story.backend(threads: 2)
    session = try DecoderSession(
      decoder: Decoder(backend: backend), capacity: 64, mode: .sparse,
      sparsity: Sparsity(plan: story.plan(neurons: neurons)))
    backend.observer = self
    try session.run(story.tokens.prefix(story.prompt), wanted: .none) { _, _ in }
    backend.observer = nil
  }

  func rows(token: Int) -> [Int32]? { session.rows(.neurons, layer: 0, token: token) }

  func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    guard layer == 0 else { return }
    let width =
      site == .activations
      ? story.model.architecture.neurons
      : min(stride, story.model.architecture.hidden)
    seen[site] = (0..<tokens).map { t in
      Array(UnsafeBufferPointer(start: values + t * stride, count: width))
    }
  }
}
