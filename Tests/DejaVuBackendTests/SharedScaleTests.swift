import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

/// Rows of W_O and W2 that share scales, as in published checkpoints of GPTQ and AWQ: what the reference
/// says, and the laws that hold for rows with scales of their own.
struct SharedScaleTests {
  struct Case: CustomStringConvertible, Sendable {
    let format: String
    /// Rows that share scales; none of these divides every head or every neuron.
    let rows: Int
    let tiny: TinyModel
    var description: String { "\(format), \(rows) rows, \(tiny)" }

    func model() throws -> PackedModel {
      let format = try #require(GroupwiseFormat(name: format))
      return SharedScaleModel.model(of: tiny.architecture, format: format, rows: rows)
    }
  }

  static let cases = [
    Case(format: "int4-g32-zeros", rows: 32, tiny: .opt),
    Case(format: "int4-g64-zeros", rows: 64, tiny: .llamaGrouped),
    Case(format: "int4-g128-zeros", rows: 128, tiny: .llamaReLU),
    Case(format: "int8-g32-zeros", rows: 7, tiny: .optPostNorm),
    Case(format: "int4-g32-zeros", rows: 100_000, tiny: .neoX),
    Case(format: "int8-g128-zeros", rows: 20, tiny: .llamaReLU),
  ]

  @Test(arguments: cases)
  func `every instruction set and number of threads agrees with the reference`(each: Case) throws {
    let model = try each.model()
    let answers = ReferenceAnswers(model: model, cacheType: .float32)
    for instructionSet in InstructionSet.available {
      for threads in 1...2 {
        let options = CPUOptions(
          threads: threads, instructionSet: instructionSet, cacheType: .float32)
        try checkBackend(
          Candidate(try CPUBackend(model: model, options: options)), against: answers,
          within: .groupwiseLogits)
      }
    }
  }

  @Test(arguments: cases.prefix(3))
  func `activations of 8 bits keep to their tolerance`(each: Case) throws {
    let model = try each.model()
    let answers = ReferenceAnswers(model: model, cacheType: .float32)
    for instructionSet in InstructionSet.available {
      let options = CPUOptions(
        threads: 1, instructionSet: instructionSet, cacheType: .float32, activationBits: .eight)
      try checkBackend(
        Candidate(try CPUBackend(model: model, options: options)), against: answers,
        within: .narrowLogits)
    }
  }

  @Test(arguments: cases)
  func `threads do not change a bit of the logits`(each: Case) throws {
    let model = try each.model()
    let tokens = (0..<20).map { TokenID($0 * 15 + 1) }
    for instructionSet in InstructionSet.available {
      for plan in [RowPlan.all, .nonzero, .random(density: 0.4, seed: 3)] {
        let logits = try [1, 2, 3, 7].map { threads in
          let options = CPUOptions(threads: threads, instructionSet: instructionSet)
          let trial = Trial(Candidate(try CPUBackend(model: model, options: options)))
          return try trial.run(tokens, steps: [13, 1], cache: trial.makeCache(), plan: plan)
        }
        for found in logits.dropFirst() {
          try expectSameBits(found, logits[0], "\(instructionSet), \(plan)")
        }
      }
    }
  }

  @Test(arguments: cases, [1, 3, 8])
  func `deferred keys and values equal eager ones bit for bit`(each: Case, window: Int) throws {
    let model = try each.model()
    for instructionSet in [InstructionSet.best, .scalar] {
      func run(window: Int, threads: Int) throws -> DeferralStory {
        let options = CPUOptions(threads: threads, instructionSet: instructionSet)
        let backend = try CPUBackend(model: model, options: options)
        var story = try DeferralStory(backend: backend, window: window, seed: 3)
        try story.tell()
        return story
      }
      let eager = try run(window: 0, threads: 1)
      let deferred = try run(window: window, threads: 2)
      try expectSameBits(deferred.logits, eager.logits, "\(each), window \(window)")
      #expect(window == 1 || deferred.greatestDebt > 0, "nothing was ever deferred")
    }
  }

  @Test(arguments: cases)
  func `exact runs and full lists are the dense model bit for bit`(each: Case) throws {
    let story = PlanStory(model: try each.model())
    let a = story.model.architecture
    let dense = try story.logits(.dense, nil)
    try expectSameBits(try story.logits(.exact, nil), dense, "exact")
    let heads = RowPolicy.fixed(Array(0..<Int32(a.kvHeads)))
    let full = RowPolicy.fixed(Array(0..<Int32(a.neurons)))
    try expectSameBits(
      try story.logits(.sparse, story.plan(heads: heads, neurons: full)), dense, "full lists")
    for rule in [ChoiceRule.threshold(-.infinity), .highest(a.neurons)] {
      let plan = story.plan(neurons: .shadow(bits: 2, .afterAttention, rule))
      try expectSameBits(try story.logits(.sparse, plan), dense, "\(rule)")
      // Rows that are ranked after they are computed are added one by one, not four at a time.
      let oracle = story.plan(heads: .oracle(.threshold(-1)), neurons: .oracle(rule))
      try expectClose(
        try story.logits(.sparse, oracle), dense, within: .groupwiseLogits, "oracle by \(rule)")
    }
  }

  @Test(arguments: cases)
  func `a plan gives the same bits on any threads, with early and with late keys`(
    each: Case
  ) throws {
    let story = PlanStory(model: try each.model())
    var plan = story.plan(
      heads: .random(density: 0.5, seed: 9),
      neurons: .shadow(bits: 2, .afterAttention, .threshold(0.02)))
    plan.window = 5
    let eager = try story.logits(.sparse, plan, defersKeys: false)
    for threads in 1...3 {
      try expectSameBits(
        try story.logits(.sparse, plan, threads: threads), eager, "\(threads) threads")
    }
    #expect(eager != (try story.logits(.dense, nil)), "the plan left nothing out")
  }

  /// What a listed step reads of W2 and W_O, counted row by row here.
  @Test func `bytes are those of the rows that are read and of the scales that they share`() throws
  {
    let model = try Self.cases[0].model()
    let (a, layer) = (model.architecture, model.layers[0])
    let scales = try #require(layer.bundle.downScales)
    #expect(layer.bundle.down.rowBytes < layer.bundle.up.rowBytes)
    func bytes(_ neurons: [Int32]) throws -> Int {
      let options = CPUOptions(threads: 2, cacheType: .float32)
      let backend = try CPUBackend(model: model, options: options)
      let decoder = Decoder(backend: backend)
      let story = PlanStory(model: model)
      let plan = story.plan(neurons: .fixed(neurons))
      let session = try DecoderSession(
        decoder: decoder, capacity: 4, mode: .sparse, sparsity: story.sparsity(plan, on: backend))
      backend.tally = Tally()
      _ = try session.decode(5)
      return backend.tally.mlpWeights
    }
    let none = try bytes([])
    let one = try bytes([40])
    // An inactive neuron reads its up row alone, an active one its down row and its group's scales.
    let up = layer.bundle.up.rowBytes
    let all = up + layer.bundle.down.rowBytes + scales.rowBytes
    #expect(none == 0)
    let most = a.layers * all
    #expect(one >= a.layers * up && one <= most && (one - a.layers * up) % (all - up) == 0)
    let dense = model.layers.reduce(0) { $0 + $1.bundle.byteCount }
    let everyGroup = model.layers.reduce(0) { $0 + ($1.bundle.downScales?.byteCount ?? 0) }
    let everyRow = a.layers * a.neurons * (up + layer.bundle.down.rowBytes)
    #expect(dense == everyRow + everyGroup)
  }
}
