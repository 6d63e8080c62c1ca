import DejaVuCore
import DejaVuReference
import DejaVuTestSupport
import Testing

struct ReferenceTests {
  @Test(arguments: TinyModel.allCases)
  func `the reference obeys the laws of a backend to the last bit`(tiny: TinyModel) throws {
    let model = tiny.model()
    let candidate = Candidate(ReferenceBackend(model: model, cacheType: .float16))
    let answers = ReferenceAnswers(model: model, cacheType: .float16)
    let exact = Tolerance(0, because: "the same sums in the same order")
    try checkBackend(candidate, against: answers, within: exact)
  }

  /// The control of the conformance check: rounding keys is enough to be found out.
  @Test(arguments: TinyModel.allCases)
  func `a cache of another type does not pass the check`(tiny: TinyModel) throws {
    let model = tiny.model()
    let candidate = Candidate(ReferenceBackend(model: model, cacheType: .float16))
    let answers = ReferenceAnswers(model: model, cacheType: .float32)
    #expect(throws: Disagreement.self) {
      try checkBackend(candidate, against: answers, within: .logits(cache: .float32))
    }
  }

  @Test func `logits that are not numbers end the step with their position`() throws {
    var architecture = TinyModel.opt.architecture
    architecture.normalization.epsilon = .nan
    let model = TinyModel.model(of: architecture)
    let trial = Trial(Candidate(ReferenceBackend(model: model)))
    let cache = try trial.makeCache()
    #expect(throws: BackendError.nonFiniteLogits(position: 0)) {
      try trial.step([1, 2, 3], cache: cache, plan: .all)
    }
  }
}
