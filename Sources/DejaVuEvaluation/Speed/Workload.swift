package import DejaVu
package import DejaVuCore
package import DejaVuModels

/// What a benchmark measures.
package struct Workload: Hashable, Sendable {
  /// Positions already in the cache when decoding starts.
  package var depths = [128, 512]
  /// Lengths of prompts.
  package var prompts = [128, 512]
  package var modes = [RunMode.dense, .exact]
  /// Tokens of one decode run.
  package var tokens = 12
  /// Runs of each kind, interleaved with bandwidth probes.
  package var rounds = 5
  package var seed: UInt64 = 1

  package init() {}
}

/// Decode steps at one depth in one mode.
package struct DecodeFigures: Sendable {
  package let mode: RunMode
  package let depth: Int
  package var milliseconds: [Double] = []
  package var tally = Tally()

  package init(mode: RunMode, depth: Int) {
    self.mode = mode
    self.depth = depth
  }

  package var median: Double { Statistics.median(milliseconds) }
  package var p95: Double { Statistics.percentile(milliseconds, 0.95) }
  package var tokensPerSecond: Double { median > 0 ? 1000 / median : 0 }
  package var bytesPerToken: Double { Double(tally.bytes) / Double(max(tally.tokens, 1)) }
  /// Gigabytes per second that decoding reached.
  package var bandwidth: Double { bytesPerToken / 1e6 / max(median, 1e-9) }
}

/// Prompts of one length.
package struct PromptFigures: Sendable {
  package let tokens: Int
  package var milliseconds: [Double] = []
  package let flops: Double

  package var median: Double { Statistics.median(milliseconds) }
  package var gigaflopsPerSecond: Double { flops / 1e6 / max(median, 1e-9) }
}

/// Runs a workload on an engine through the same step that `generate` takes.
package struct SpeedRun {
  private let engine: Engine
  private let workload: Workload
  package private(set) var decode: [DecodeFigures]
  package private(set) var prompt: [PromptFigures]

  package init(engine: Engine, workload: Workload) {
    self.engine = engine
    self.workload = workload
    decode = workload.depths.flatMap { depth in
      workload.modes.map { DecodeFigures(mode: $0, depth: depth) }
    }
    prompt = workload.prompts.map {
      PromptFigures(tokens: $0, flops: Self.flops(engine.model.architecture, tokens: $0))
    }
  }

  /// Multiplications and additions of the products and the attention of one prompt; the head
  /// works for one position only and causal attention for half of all pairs.
  private static func flops(_ a: Architecture, tokens: Int) -> Double {
    let attention = 2 * (a.heads + a.kvHeads) * a.headWidth * a.hidden
    let weights = a.layers * (attention + a.rowsPerNeuron * a.neurons * a.hidden)
    let pairs = tokens * (tokens + 1) / 2
    let scores = 4 * a.layers * a.heads * a.headWidth * pairs
    return Double(2 * weights * tokens + scores + 2 * a.vocabulary * a.embeddingWidth)
  }

  private func tokens(_ count: Int, round: Int) -> [TokenID] {
    let vocabulary = UInt64(engine.model.architecture.vocabulary)
    return (0..<count).map { index in
      let draw = Sampler.uniform(
        seed: workload.seed &+ UInt64(round), counter: UInt64(index))
      return TokenID(draw * Double(vocabulary))
    }
  }

  /// One round of everything; `between` is called before each measurement.
  package mutating func round(_ index: Int, between: () -> Void) throws(BackendError) {
    for at in decode.indices { try measureDecode(at, round: index, between) }
    for at in prompt.indices { try measurePrompt(at, round: index, between) }
  }

  private mutating func measureDecode(
    _ at: Int, round: Int, _ between: () -> Void
  ) throws(BackendError) {
    let (depth, mode) = (decode[at].depth, decode[at].mode)
    let session = try engine.makeSession(capacity: depth + workload.tokens + 2, mode: .dense)
    try session.run(tokens(depth, round: round)[...], wanted: .none) { _, _ in }
    session.mode = mode
    let continuation = tokens(workload.tokens + 2, round: round &+ 7919)
    between()
    // Two steps settle clocks and caches.
    for token in continuation.prefix(2) { _ = try session.decode(token) }
    session.tally = Tally()
    let clock = ContinuousClock()
    for token in continuation.dropFirst(2) {
      let start = clock.now
      _ = try session.decode(token)
      decode[at].milliseconds.append((clock.now - start).milliseconds)
    }
    decode[at].tally = session.tally
  }

  private mutating func measurePrompt(
    _ at: Int, round: Int, _ between: () -> Void
  ) throws(BackendError) {
    let count = prompt[at].tokens
    let ids = tokens(count, round: round)
    let session = try engine.makeSession(capacity: count)
    between()
    let clock = ContinuousClock()
    let start = clock.now
    try session.run(ids[...], wanted: .last) { _, _ in }
    prompt[at].milliseconds.append((clock.now - start).milliseconds)
  }
}
