import DejaVuCPU
import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import DejaVuReference
import DejaVuTestSupport
import Testing

/// The backend over weights in codes: what the reference says within the rounding of vectors, and the
/// laws that hold bit for bit over plain rows.
struct CUDAGroupwiseTests {
  struct Case: CustomStringConvertible {
    let format: String
    let tiny: TinyModel
    /// The emulated card has kernels of each group for one type of cache.
    let cacheType: DType
    var description: String { "\(format), \(tiny)" }

    func model() throws -> PackedModel {
      let format = try #require(GroupwiseFormat(name: format))
      return GroupwiseModel.pair(of: tiny.architecture, format: format).groupwise
    }
    var options: CUDAOptions { CUDAOptions(cacheType: cacheType, batchCapacity: 64) }
  }

  static let cases = [
    Case(format: "int4-g64", tiny: .opt, cacheType: .float16),
    Case(format: "int4-g64", tiny: .llamaGrouped, cacheType: .float16),
    Case(format: "int8-g64", tiny: .optPostNorm, cacheType: .float16),
    Case(format: "int4-g128", tiny: .opt, cacheType: .float32),
    Case(format: "int4-g128", tiny: .neoX, cacheType: .float32),
    Case(format: "int8-g128", tiny: .llamaReLU, cacheType: .float32),
    Case(format: "int4-g32-zeros", tiny: .opt, cacheType: .float16),
    Case(format: "int8-g32-zeros", tiny: .llamaGrouped, cacheType: .float16),
  ]

  @Test(arguments: cases)
  func `codes agree with the reference`(each: Case) throws {
    let model = try each.model()
    let answers = ReferenceAnswers(model: model, cacheType: each.cacheType)
    let backend = try TestCard.backend(model, each.options)
    let tolerance: Tolerance =
      each.cacheType == .float32
      ? .groupwiseLogits
      : Tolerance(
        2e-3, because: "keys, values and a prompt's attention are in halves, vectors in 16 bits")
    try checkBackend(Candidate(backend), against: answers, within: tolerance)
    #expect(backend.replays > 0, "no step was ever replayed")
  }

  @Test(arguments: [(cases[0], 3), (cases[3], 8)])
  func `deferred keys and values equal eager ones bit for bit`(each: Case, window: Int) throws {
    let model = try each.model()
    func run(window: Int) throws -> CardStory {
      let backend = try TestCard.backend(model, each.options)
      var story = try CardStory(backend: backend, window: window, seed: 5)
      try story.tell()
      return story
    }
    let (eager, deferred) = (try run(window: 0), try run(window: window))
    try expectSameBits(deferred.logits, eager.logits, "\(each), window \(window)")
    #expect(deferred.greatestDebt > 0, "nothing was ever deferred")
  }

  @Test(arguments: cases.prefix(4))
  func `rows of zeros may be left out`(each: Case) throws {
    let model = try each.model()
    let tokens = (0..<12).map { TokenID($0 * 17 + 3) }
    func logits(_ plan: RowPlan) throws -> [[Float]] {
      let trial = Trial(Candidate(try TestCard.backend(model, each.options)))
      return try trial.run(tokens, steps: [1], cache: trial.makeCache(), plan: plan)
    }
    try expectSameBits(try logits(.nonzero), try logits(.all), "\(each)")
  }

  @Test func `what a step reads is counted as on the CPU`() throws {
    let each = Self.cases[3]
    let model = try each.model()
    let tokens = (0..<12).map { TokenID($0 * 17 + 3) }
    for plan in [RowPlan.all, .random(density: 0.4, seed: 3)] {
      let card = try TestCard.backend(model, each.options)
      _ = try Trial(Candidate(card)).run(
        tokens, steps: [1], cache: card.makeCache(capacity: 32, window: 0), plan: plan)
      let options = CPUOptions(threads: 1, cacheType: each.cacheType)
      let cpu = try CPUBackend(model: model, options: options)
      _ = try Trial(Candidate(cpu)).run(
        tokens, steps: [1], cache: cpu.makeCache(capacity: 32, window: 0), plan: plan)
      #expect(card.tally == cpu.tally, "\(plan)")
    }
  }

  @Test func `codes of other bits are refused`() throws {
    let format = try #require(GroupwiseFormat(name: "int3-g64"))
    let model = GroupwiseModel.pair(of: TinyModel.opt.architecture, format: format).groupwise
    #expect(throws: BackendError.self) { try TestCard.backend(model) }
  }

  @Test func `rows that share scales are refused with the reason and what to do`() throws {
    // One that the emulated card has kernels for where rows have scales of their own.
    let each = Self.cases[6]
    let format = try #require(GroupwiseFormat(name: each.format))
    let model = SharedScaleModel.model(of: each.tiny.architecture, format: format, rows: 32)
    do {
      _ = try TestCard.backend(model, each.options)
      Issue.record("nothing was refused")
    } catch {
      #expect("\(error)".contains("as GPTQ and AWQ publish them"), "\(error)")
      #expect("\(error)".contains("run on the CPU"), "\(error)")
    }
  }
}
