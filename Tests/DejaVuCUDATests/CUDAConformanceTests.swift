import DejaVuCPU
import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import DejaVuReference
import DejaVuTestSupport
import Testing

/// The backend against its definition; the emulated card runs the kernels' own text.
struct CUDAConformanceTests {
  @Test(arguments: TinyModel.allCases)
  func `the backend agrees with the reference`(tiny: TinyModel) throws {
    // Every family in one type on an emulated card, in every type on a real one.
    let index = TinyModel.allCases.firstIndex(of: tiny) ?? 0
    let types = TestCard.isReal ? DType.allCases : [DType.allCases[index % 3]]
    for dtype in types {
      let model = tiny.model(dtype: dtype)
      let cacheType: DType = dtype == .float32 ? .float32 : .float16
      let answers = ReferenceAnswers(model: model, cacheType: cacheType)
      let backend = try TestCard.backend(model)
      let tolerance: Tolerance =
        cacheType == .float32
        ? .logits(cache: .float32)
        : Tolerance(5e-3, because: "inputs of heads are kept in halves, keys and values too")
      try checkBackend(Candidate(backend), against: answers, within: tolerance)
      #expect(backend.replays > 0, "no step was ever replayed")
    }
  }

  @Test func `a step is recorded once and replayed`() throws {
    let model = TinyModel.opt.model(dtype: .float16)
    let backend = try TestCard.backend(model)
    let trial = Trial(Candidate(backend))
    let cache = try trial.makeCache()
    for token in [3, 1, 4, 1, 5, 9] as [TokenID] {
      _ = try trial.step([token], cache: cache, plan: .all)
    }
    // The first is looked at, all others are replayed.
    #expect(backend.replays == 5)
    let layers = model.architecture.layers
    #expect(
      backend.graphNodes == 5 + 7 * layers,
      "counters, tokens, positions, a first vector, the head, 7 a layer")
    cache.truncate(to: 2)
    _ = try trial.step([7], cache: cache, plan: .all)
    #expect(backend.replays == 6, "a cache that was cut back replays the same step")
  }

  @Test(arguments: [TinyModel.opt, .llamaGrouped, .llamaReLU])
  func `what a step reads is counted as on the CPU`(tiny: TinyModel) throws {
    // In float32 no input of heads is rounded: the same neurons are zero.
    let model = tiny.model(dtype: .float32)
    let tokens = (0..<12).map { TokenID($0 * 17 + 3) }
    for plan in [RowPlan.all, .nonzero, .random(density: 0.4, seed: 3)] {
      let card = try TestCard.backend(model)
      _ = try Trial(Candidate(card)).run(
        tokens, steps: [1], cache: card.makeCache(capacity: 32, window: 0), plan: plan)
      let cpu = try CPUBackend(model: model, options: CPUOptions(threads: 1))
      _ = try Trial(Candidate(cpu)).run(
        tokens, steps: [1], cache: cpu.makeCache(capacity: 32, window: 0), plan: plan)
      #expect(card.tally == cpu.tally, "\(plan)")
    }
  }

  @Test func `weights that do not fit are refused before anything is allocated`() throws {
    let model = TinyModel.opt.model(dtype: .float16)
    let backend = try TestCard.backend(model)
    let free = backend.device.freeBytes
    #expect(throws: BackendError.self) {
      try DeviceModel.requireRoom(1 << 50, on: backend.device)
    }
    #expect(backend.device.freeBytes == free)
  }

  @Test func `NaN weights are named`() throws {
    let model = TinyModel.opt.model(dtype: .float32)
    let norm = UnsafeMutablePointer(mutating: model.finalNorm?.weight?.base)
    norm?[0] = .nan
    let trial = Trial(Candidate(try TestCard.backend(model)))
    #expect(throws: BackendError.nonFiniteLogits(position: 0)) {
      _ = try trial.step([1], cache: trial.makeCache(), plan: .all)
    }
  }
}
