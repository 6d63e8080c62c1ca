import DejaVuCPU
import DejaVuCore
import DejaVuTestSupport
import Testing

struct CPUConformanceTests {
  @Test(arguments: TinyModel.allCases, DType.allCases)
  func `every instruction set and number of threads agrees with the reference`(
    tiny: TinyModel, dtype: DType
  ) throws {
    let model = tiny.model(dtype: dtype)
    let cacheType: DType = dtype == .float32 ? .float32 : .float16
    let answers = ReferenceAnswers(model: model, cacheType: cacheType)
    for instructionSet in InstructionSet.available {
      for threads in 1...3 {
        let options = CPUOptions(
          threads: threads, instructionSet: instructionSet, multipliesPromptInBFloat16: false)
        let backend = try CPUBackend(model: model, options: options)
        #expect(backend.cacheLayout.dtype == cacheType)
        try checkBackend(
          Candidate(backend), against: answers, within: .logits(cache: cacheType))
      }
    }
  }

  @Test(arguments: TinyModel.allCases)
  func `a bfloat16 cache agrees with the reference's`(tiny: TinyModel) throws {
    let model = tiny.model(dtype: .bfloat16)
    let answers = ReferenceAnswers(model: model, cacheType: .bfloat16)
    let options = CPUOptions(
      threads: 2, cacheType: .bfloat16, multipliesPromptInBFloat16: false)
    let backend = try CPUBackend(model: model, options: options)
    try checkBackend(Candidate(backend), against: answers, within: .logits(cache: .bfloat16))
  }

  @Test(
    .enabled(if: InstructionSet.best.multipliesBFloat16, "no bfloat16 products here"),
    arguments: TinyModel.allCases, DType.allCases)
  func `prompts multiplied in bfloat16 stay near the reference`(
    tiny: TinyModel, dtype: DType
  ) throws {
    let model = tiny.model(dtype: dtype)
    let answers = ReferenceAnswers(model: model, cacheType: .float32)
    let options = CPUOptions(
      threads: 2, cacheType: .float32, multipliesPromptInBFloat16: true)
    let trial = Trial(Candidate(try CPUBackend(model: model, options: options)))
    let tokens = answers.sequences[0]
    let found = try trial.run(tokens, steps: [40, 1], cache: trial.makeCache(), plan: .all)
    try expectClose(
      found, answers.logits(sequence: 0, plan: .all), within: .brainLogits, "\(tiny)")
  }

  @Test(arguments: TinyModel.allCases, DType.allCases)
  func `threads do not change a bit of the logits`(tiny: TinyModel, dtype: DType) throws {
    let model = tiny.model(dtype: dtype)
    let tokens = (0..<20).map { TokenID($0 * 15 + 1) }
    for instructionSet in InstructionSet.available {
      let some = [RowPlan.random(density: 0.4, seed: 3), .random(density: 0.8, seed: 4)]
      for plan in [.all, .nonzero] + some {
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

  /// The scratch of prompt attention must hold queries also where a head is wider than the cache.
  @Test(arguments: InstructionSet.available)
  func `a cache shorter than a head is wide holds a prompt`(instructionSet: InstructionSet) throws {
    let model = TinyModel.olmo.model()
    let answers = ReferenceAnswers(model: model, cacheType: .float32)
    let options = CPUOptions(threads: 2, instructionSet: instructionSet)
    let trial = Trial(Candidate(try CPUBackend(model: model, options: options)))
    for sequence in [1, 2] {
      let tokens = answers.sequences[sequence]
      let cache = try trial.makeCache(capacity: tokens.count)
      let found = try trial.run(tokens, steps: [tokens.count], cache: cache, plan: .all)
      try expectClose(
        found, answers.logits(sequence: sequence, plan: .all), within: .logits(cache: .float32),
        "a cache of \(tokens.count)")
    }
  }

  @Test(arguments: [TinyModel.llamaGrouped, .bloom])
  func `a fork may be longer than any cache made before`(tiny: TinyModel) throws {
    let model = tiny.model()
    let answers = ReferenceAnswers(model: model, cacheType: .float32)
    let trial = Trial(Candidate(try CPUBackend(model: model, options: CPUOptions(threads: 2))))
    let tokens = answers.sequences[0]
    let trunk = try trial.makeCache(capacity: 4)
    var found = try trial.run(Array(tokens[..<4]), steps: [4], cache: trunk, plan: .all)
    let branch = try trunk.fork(capacity: 4096)
    found += try trial.run(Array(tokens[4...]), steps: [40, 1], cache: branch, plan: .all)
    try expectClose(
      found, answers.logits(sequence: 0, plan: .all), within: .logits(cache: .float32),
      "a fork of 4096 positions")
  }

  @Test func `a sequence that adds nothing to a batch changes nothing`() throws {
    let model = TinyModel.opt.model()
    let answers = ReferenceAnswers(model: model, cacheType: .float32)
    let trial = Trial(Candidate(try CPUBackend(model: model, options: CPUOptions(threads: 2))))
    let (idle, busy) = (try trial.makeCache(), try trial.makeCache())
    var found: [[Float]] = []
    for token in answers.sequences[2] {
      found += try trial.step([
        Continuation([], cache: idle, plan: .all), Continuation([token], cache: busy, plan: .all),
      ])
    }
    #expect(idle.count == 0)
    try expectClose(
      found, answers.logits(sequence: 2, plan: .all), within: .logits(cache: .float32), "decode")
  }
}
