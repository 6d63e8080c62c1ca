import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

/// The CPU over groupwise rows: what the reference says within the rounding of vectors, and every
/// law that holds bit for bit over plain rows.
struct CPUGroupwiseTests {
  /// Each format meets two networks: five of all sorts take turns.
  static let networks: [TinyModel] = [.opt, .llamaGrouped, .optPostNorm, .llamaReLU, .neoX]
  static let cases: [(GroupwiseFormat, TinyModel)] = GroupwiseFormat.all.enumerated().flatMap {
    index, format in
    [
      (format, networks[index % networks.count]), (format, networks[(index + 2) % networks.count]),
    ]
  }

  private static func model(_ tiny: TinyModel, _ format: GroupwiseFormat) -> PackedModel {
    GroupwiseModel.pair(of: tiny.architecture, format: format).groupwise
  }

  private static func format(_ bits: Int, _ group: Int, zeros: Bool = false) throws
    -> GroupwiseFormat
  {
    try #require(GroupwiseFormat(bits: bits, group: group, hasZeros: zeros))
  }

  @Test(arguments: cases)
  func `every instruction set and number of threads agrees with the reference`(
    format: GroupwiseFormat, tiny: TinyModel
  ) throws {
    let model = Self.model(tiny, format)
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

  @Test(arguments: networks)
  func `threads do not change a bit of the logits`(tiny: TinyModel) throws {
    let model = Self.model(tiny, try Self.format(4, 64))
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

  @Test(arguments: networks, [1, 3, 8])
  func `deferred keys and values equal eager ones bit for bit`(
    tiny: TinyModel, window: Int
  ) throws {
    for (bits, group, instructionSet) in [
      (4, 64, InstructionSet.best), (3, 32, .best), (8, 128, .scalar),
    ] {
      let model = Self.model(tiny, try Self.format(bits, group))
      func run(window: Int, threads: Int) throws -> DeferralStory {
        let options = CPUOptions(threads: threads, instructionSet: instructionSet)
        let backend = try CPUBackend(model: model, options: options)
        var story = try DeferralStory(backend: backend, window: window, seed: UInt64(bits))
        try story.tell()
        return story
      }
      let eager = try run(window: 0, threads: 1)
      let deferred = try run(window: window, threads: 2)
      try expectSameBits(deferred.logits, eager.logits, "\(bits) bits, window \(window)")
      #expect(window == 1 || deferred.greatestDebt > 0, "nothing was ever deferred")
    }
  }

  @Test(arguments: networks)
  func `thresholds below every score and full lists are the dense model bit for bit`(
    tiny: TinyModel
  ) throws {
    let story = PlanStory(model: Self.model(tiny, try Self.format(4, 64)))
    let a = story.model.architecture
    let dense = try story.logits(.dense, nil)
    try expectSameBits(try story.logits(.exact, nil), dense, "exact")
    let heads = RowPolicy.fixed(Array(0..<Int32(a.kvHeads)))
    let full = RowPolicy.fixed(Array(0..<Int32(a.neurons)))
    try expectSameBits(
      try story.logits(.sparse, story.plan(heads: heads, neurons: full)), dense, "full lists")
    for bits in [2, 4] {
      for rule in [ChoiceRule.threshold(-.infinity), .highest(a.neurons)] {
        let plan = story.plan(neurons: .shadow(bits: bits, .afterAttention, rule))
        try expectSameBits(try story.logits(.sparse, plan), dense, "\(bits) bits, \(rule)")
      }
    }
    // Rows that are ranked after they are computed are added one by one, not four at a time.
    for rule in [ChoiceRule.threshold(-.infinity), .highest(a.neurons)] {
      let plan = story.plan(heads: .oracle(.threshold(-1)), neurons: .oracle(rule))
      try expectClose(
        try story.logits(.sparse, plan), dense, within: .groupwiseLogits, "oracle by \(rule)")
    }
  }

  @Test(arguments: networks)
  func `a plan gives the same bits on any threads, with early and with late keys`(
    tiny: TinyModel
  ) throws {
    let story = PlanStory(model: Self.model(tiny, try Self.format(4, 32, zeros: true)))
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

  @Test func `prompts over groupwise weights are not multiplied in bfloat16`() throws {
    let model = Self.model(.opt, try Self.format(4, 64))
    let options = CPUOptions(threads: 1, multipliesPromptInBFloat16: true)
    #expect(throws: BackendError.self) { try CPUBackend(model: model, options: options) }
  }

  @Test func `an infinite stream is found, not rounded away`() throws {
    let model = Self.model(.opt, try Self.format(4, 64))
    let scales = try #require(model.layers[0].bundle.matrix.format.groupwise)
    let down = model.layers[0].bundle.down
    // The test owns the memory behind its model.
    let half = UnsafeMutableRawPointer(
      mutating: down.base + scales.codeBytes(down.columns))
    for row in 0..<down.rows {
      half.storeBytes(of: 0x7C00, toByteOffset: row * down.stride, as: UInt16.self)
    }
    for instructionSet in InstructionSet.available {
      let options = CPUOptions(threads: 1, instructionSet: instructionSet)
      let trial = Trial(Candidate(try CPUBackend(model: model, options: options)))
      let cache = try trial.makeCache()
      #expect(throws: BackendError.nonFiniteLogits(position: 0)) {
        try trial.step([1], cache: cache, plan: .all)
      }
    }
  }
}
