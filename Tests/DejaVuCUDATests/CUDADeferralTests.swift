import DejaVuCUDA
import DejaVuCore
import DejaVuTestSupport
import Testing

/// Keys and values of skipped heads are computed late on the card too, and nothing may show it.
struct CUDADeferralTests {
  @Test(arguments: [TinyModel.opt, .llamaGrouped], [1, 3, 8])
  func `deferred keys and values equal eager ones bit for bit`(
    tiny: TinyModel, window: Int
  ) throws {
    let types: [DType] = TestCard.isReal ? DType.allCases : [tiny == .opt ? .float16 : .float32]
    for dtype in types {
      let model = tiny.model(dtype: dtype)
      func run(window: Int) throws -> CardStory {
        var story = try CardStory(
          backend: TestCard.backend(model), window: window, seed: UInt64(2 + dtype.size))
        try story.tell()
        return story
      }
      let (eager, deferred) = (try run(window: 0), try run(window: window))
      try expectSameBits(deferred.logits, eager.logits, "\(dtype), window \(window)")
      #expect(eager.greatestDebt == 0)
      let planes = model.architecture.layers * model.architecture.kvHeads
      #expect(deferred.greatestDebt <= planes * (window - 1))
      #expect(window == 1 || deferred.greatestDebt > 0, "nothing was ever deferred")
    }
  }
}

/// A seeded sequence of prompts, single tokens, truncations and forks with random head sets.
struct CardStory {
  private let trial: Trial<CUDABackend>
  private var caches: [CUDACache]
  private var random: SeededRandom
  private(set) var logits: [[Float]] = []
  private(set) var greatestDebt = 0

  init(backend: CUDABackend, window: Int, seed: UInt64) throws {
    trial = Trial(Candidate(backend))
    caches = [try trial.makeCache(capacity: 64, window: window)]
    random = SeededRandom(seed: seed)
  }

  mutating func tell() throws {
    for _ in 0..<60 { try act() }
  }

  private mutating func act() throws {
    let which = Int(random.next() % UInt64(caches.count))
    let cache = caches[which]
    switch random.next() % 16 {
    case 0: try advance(cache, by: 2 + Int(random.next() % 5))
    case 1:
      cache.truncate(to: cache.count - Int(random.next() % UInt64(min(cache.count, 12) + 1)))
    case 2:
      let copy = try cache.fork(capacity: 64)
      if caches.count < 3 { caches.append(copy) } else { caches[which] = copy }
    case 3: try advanceTogether()
    default: try advance(cache, by: 1)
    }
    greatestDebt = caches.reduce(greatestDebt) { max($0, $1.debt) }
  }

  private mutating func advance(_ cache: CUDACache, by count: Int) throws {
    makeRoom(in: cache, for: count)
    logits += try trial.step(tokens(count), cache: cache, plan: nextPlan())
  }

  /// One token of every sequence in one step.
  private mutating func advanceTogether() throws {
    let plan = nextPlan()
    for cache in caches { makeRoom(in: cache, for: 1) }
    var parts: [Continuation<CUDACache>] = []
    for cache in caches { parts.append(Continuation(tokens(1), cache: cache, plan: plan)) }
    logits += try trial.step(parts)
  }

  private func makeRoom(in cache: CUDACache, for count: Int) {
    if cache.count + count > cache.capacity { cache.truncate(to: cache.count / 2) }
  }

  private mutating func tokens(_ count: Int) -> [TokenID] {
    (0..<count).map { _ in TokenID(random.next() % 319) }
  }

  private mutating func nextPlan() -> RowPlan {
    let density = [0.1, 0.5, 0.9][Int(random.next() % 3)]
    return .random(density: density, seed: random.next())
  }
}
