package import DejaVu
import DejaVuCPU
package import DejaVuCore
import DejaVuModels

/// Runs a workload on an engine through the same step that `generate` takes.
package struct SpeedRun {
  /// What is called before each measurement; what it does is not part of any.
  package struct Probes {
    /// Gigabytes per second of reading memory.
    package let bandwidth: () -> Double
    /// GFLOP/s of a product of so many tokens; nil where there is no BLAS.
    package let product: (_ tokens: Int) -> Double?
    /// Progress; it may throw to give up.
    package let step: () throws -> Void

    package init(
      bandwidth: @escaping () -> Double, product: @escaping (_ tokens: Int) -> Double?,
      step: @escaping () throws -> Void
    ) {
      self.bandwidth = bandwidth
      self.product = product
      self.step = step
    }
  }

  /// Steps of a decode run before the clock is read, which settle caches and clocks.
  static let settling = 2

  private let engine: Engine
  private let workload: Workload
  private let sparse: [SparseRun]
  /// Sparse runs have sequences of their own, whose caches keep the inputs of skipped heads.
  private let sessions: [Place: any Session]
  private let promptSession: any Session
  package private(set) var decode: [DecodeFigures]
  package private(set) var prompt: [PromptFigures]

  private struct Place: Hashable {
    let depth: Int
    let isSparse: Bool
  }

  /// What each of `decode` follows: its place among the sparse runs, nil where it is not one.
  private let followed: [Int?]

  /// Makes the sequences; nothing runs yet.
  ///
  /// - Precondition: there is something in `sparse` where the workload has sparse runs.
  package init(
    engine: Engine, workload: Workload, sparse: [SparseRun] = []
  ) throws(BackendError) {
    precondition(
      !sparse.isEmpty || !workload.modes.contains(.sparse), "sparse runs need something to follow")
    self.engine = engine
    self.workload = workload
    self.sparse = sparse
    var (decode, followed): ([DecodeFigures], [Int?]) = ([], [])
    for depth in workload.depths {
      for mode in workload.modes {
        let runs: [Int?] = mode == .sparse ? Array(sparse.indices) : [nil]
        decode += runs.map { run in
          DecodeFigures(mode: mode, depth: depth, point: run.flatMap { sparse[$0].point })
        }
        followed += runs
      }
    }
    (self.decode, self.followed) = (decode, followed)
    prompt = workload.prompts.map {
      PromptFigures(
        tokens: $0, flops: PromptWork.flops(engine.model.architecture, tokens: $0))
    }
    // The cache is made for a plan that skips heads, if there is one: it suits the others too.
    let widest = (sparse.first { $0.sparsity.plan.skipsHeads } ?? sparse.first)?.sparsity
    var sessions: [Place: any Session] = [:]
    for figures in decode {
      let place = Place(depth: figures.depth, isSparse: figures.mode == .sparse)
      guard sessions[place] == nil else { continue }
      sessions[place] = try engine.makeSession(
        capacity: place.depth + Self.settling + workload.tokens,
        sparsity: place.isSparse ? widest : nil)
    }
    self.sessions = sessions
    promptSession = try engine.makeSession(capacity: workload.prompts.max() ?? 1)
  }

  /// Positions of all caches together.
  package var positions: Int {
    sessions.values.reduce(promptSession.capacity) { $0 + $1.capacity }
  }

  /// Fills every sequence to its depth, decodes a token of each and runs the longest prompt, so
  /// that memory has been touched once.
  package func warmUp() throws(BackendError) {
    for (place, session) in sessions {
      try session.run(tokens(place.depth, stream: 0)[...], wanted: .none) { _, _ in }
      if place.isSparse { session.mode = .sparse }
      _ = try session.decode(0)
      session.truncate(to: place.depth)
    }
    if let longest = workload.prompts.max() { _ = try time(prompt: longest, stream: 0) }
  }

  /// One round of everything.
  package mutating func round(_ index: Int, _ probes: Probes) throws {
    for at in decode.indices {
      try probes.step()
      try measureDecode(at, round: index, probes.bandwidth)
    }
    for at in prompt.indices {
      try probes.step()
      let product = probes.product(prompt[at].tokens)
      let milliseconds = try time(prompt: prompt[at].tokens, stream: index)
      prompt[at].rounds.append(.init(milliseconds: milliseconds, product: product))
    }
  }

  private mutating func measureDecode(
    _ at: Int, round: Int, _ probe: () -> Double
  ) throws(BackendError) {
    let session = session(at)
    let continuation = tokens(Self.settling + workload.tokens, stream: round &+ 7919)
    let bandwidth = probe()
    for token in continuation.prefix(Self.settling) { _ = try session.decode(token) }
    session.tally = Tally()
    let clock = ContinuousClock()
    var instants: [ContinuousClock.Instant] = []
    instants.reserveCapacity(workload.tokens + 1)
    instants.append(clock.now)
    for token in continuation.dropFirst(Self.settling) {
      _ = try session.decode(token)
      instants.append(clock.now)
    }
    decode[at].rounds.append(
      .init(
        milliseconds: zip(instants.dropFirst(), instants).map { ($0 - $1).milliseconds },
        tally: session.tally, probe: bandwidth))
    session.truncate(to: decode[at].depth)
  }

  /// The sequence of a row, in its mode.
  private func session(_ at: Int) -> any Session {
    let (depth, mode) = (decode[at].depth, decode[at].mode)
    guard let session = sessions[Place(depth: depth, isSparse: mode == .sparse)] else {
      preconditionFailure("no sequence of \(depth)")
    }
    if let run = followed[at] { session.follow(sparse[run].sparsity) }
    session.mode = mode
    return session
  }

  /// Looks at the sets of the first round's tokens, then at the parts of their steps: two more
  /// runs of each row, which count nowhere else.
  package mutating func observe() throws(BackendError) {
    for at in decode.indices {
      let session = session(at)
      let continuation = tokens(Self.settling + workload.tokens, stream: 7919)
      if decode[at].mode == .sparse {
        var overlap = SetOverlap()
        session.choiceObserver = { overlap.note($0, $1) }
        for token in continuation { _ = try session.decode(token) }
        session.choiceObserver = nil
        session.truncate(to: decode[at].depth)
        decode[at].overlap = overlap
      }
      for token in continuation.prefix(Self.settling) { _ = try session.decode(token) }
      if let backend = engine.cpu {
        backend.profile = StepProfile(tally: backend.tally)
        for token in continuation.dropFirst(Self.settling) { _ = try session.decode(token) }
        backend.profile?.turn(to: .rest, tally: backend.tally)
        decode[at].parts = parts(of: backend.profile)
        backend.profile = nil
      }
      session.truncate(to: decode[at].depth)
    }
  }

  /// Shares of one token's step.
  private func parts(of profile: StepProfile?) -> [SpeedReport.PartRow] {
    guard let profile else { return [] }
    let tokens = Double(workload.tokens)
    return StepProfile.Part.allCases.map { part in
      let share = profile[part]
      return SpeedReport.PartRow(
        part: part.rawValue, milliseconds: 1000 * share.seconds / tokens,
        bytes: Double(share.bytes) / tokens, flops: Double(share.flops) / tokens)
    }
  }

  private func time(prompt count: Int, stream: Int) throws(BackendError) -> Double {
    let ids = tokens(count, stream: stream)
    promptSession.truncate(to: 0)
    let clock = ContinuousClock()
    let start = clock.now
    try promptSession.run(ids[...], wanted: .last) { _, _ in }
    return (clock.now - start).milliseconds
  }

  private func tokens(_ count: Int, stream: Int) -> [TokenID] {
    let vocabulary = Double(engine.model.architecture.vocabulary)
    return (0..<count).map { index in
      let draw = Sampler.uniform(
        seed: workload.seed &+ UInt64(stream), counter: UInt64(index))
      return TokenID(draw * vocabulary)
    }
  }
}
