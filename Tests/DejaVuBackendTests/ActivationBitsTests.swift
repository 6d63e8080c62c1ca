import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

/// Activations in 8 bits over groupwise rows: coarser numbers, the same laws.
struct ActivationBitsTests {
  private static func backend(
    _ model: PackedModel, _ instructionSet: InstructionSet = .best, threads: Int = 1,
    _ bits: ActivationBits = .eight
  ) throws -> CPUBackend {
    try CPUBackend(
      model: model,
      options: CPUOptions(
        threads: threads, instructionSet: instructionSet, cacheType: .float32, activationBits: bits)
    )
  }

  private static func model(_ tiny: TinyModel, bits: Int = 4) throws -> PackedModel {
    let format = try #require(GroupwiseFormat(bits: bits, group: 64, hasZeros: bits == 3))
    return GroupwiseModel.pair(of: tiny.architecture, format: format).groupwise
  }

  private static func logits(
    _ backend: CPUBackend, plan: RowPlan = .all
  ) throws -> [[Float]] {
    let trial = Trial(Candidate(backend))
    let tokens = (0..<20).map { TokenID($0 * 15 + 1) }
    return try trial.run(tokens, steps: [13, 1], cache: trial.makeCache(), plan: plan)
  }

  @Test(arguments: CPUGroupwiseTests.networks, [3, 4, 6, 8])
  func `every instruction set agrees with the reference`(tiny: TinyModel, bits: Int) throws {
    let model = try Self.model(tiny, bits: bits)
    let answers = ReferenceAnswers(model: model, cacheType: .float32)
    for instructionSet in InstructionSet.available {
      try checkBackend(
        Candidate(try Self.backend(model, instructionSet)), against: answers, within: .narrowLogits)
    }
  }

  @Test(arguments: CPUGroupwiseTests.networks)
  func `threads and rows of zeros change no bit, and 16 bits are others`(tiny: TinyModel) throws {
    let model = try Self.model(tiny)
    for instructionSet in InstructionSet.available {
      let one = try Self.logits(try Self.backend(model, instructionSet))
      let three = try Self.logits(try Self.backend(model, instructionSet, threads: 3))
      try expectSameBits(three, one, "three threads, \(instructionSet)")
      let exact = try Self.logits(try Self.backend(model, instructionSet), plan: .nonzero)
      try expectSameBits(exact, one, "exact, \(instructionSet)")
      #expect(
        try Self.logits(try Self.backend(model, instructionSet, .sixteen)) != one,
        "8 bits are not rounded to")
    }
  }

  @Test(arguments: CPUGroupwiseTests.networks)
  func `deferred keys and values equal eager ones bit for bit`(tiny: TinyModel) throws {
    let model = try Self.model(tiny)
    func run(window: Int) throws -> DeferralStory {
      var story = try DeferralStory(backend: try Self.backend(model), window: window, seed: 4)
      try story.tell()
      return story
    }
    let (eager, deferred) = (try run(window: 0), try run(window: 8))
    try expectSameBits(deferred.logits, eager.logits, "deferred")
    #expect(deferred.greatestDebt > 0, "nothing was ever deferred")
  }

  @Test func `weights that are no codes refuse the option`() throws {
    let model = TinyModel.opt.model(dtype: .float16)
    #expect(throws: BackendError.self) { try Self.backend(model) }
  }
}
