package import DejaVuCore

/// One sequence on one backend, erased: what generation, evaluation and benchmarks drive.
package protocol Session: AnyObject {
  var architecture: Architecture { get }
  /// Positions held so far.
  var count: Int { get }
  /// The greatest `count` there is room for.
  var capacity: Int { get }
  /// The greatest number of tokens that `run` computes in one step.
  var batchCapacity: Int { get }
  var tally: Tally { get set }
  /// Which rows the next steps read.
  var mode: RunMode { get set }
  /// Sees what each chooser listed for the first token of a sparse step; nil unless sets are
  /// measured.
  var choiceObserver: ((ChooserSite, [Int32]) -> Void)? { get set }
  /// The rows that a block of the last sparse step computed for a token of its last batch; nil
  /// where its policy has no list.
  func rows(_ axis: RowAxis, layer: Int, token: Int) -> [Int32]?
  /// Lets later sparse steps follow another plan on the same cache, so that many plans can be
  /// measured without a cache for each.
  ///
  /// - Precondition: the session was made for sparse runs, and where the plan skips heads, for as
  ///   wide a window.
  func follow(_ sparsity: Sparsity)
  /// Continues the sequence by `tokens`, in as many batches as needed.
  ///
  /// - Parameters:
  ///   - tokens: what follows the positions held so far.
  ///   - wanted: whose logits are computed.
  ///   - read: called with each wanted token's index among `tokens` and its logits `[V]`, valid
  ///     during the call.
  /// - Throws: ``BackendError/contextExceeded(needed:limit:)`` past `capacity`,
  ///   ``BackendError/tokenOutOfRange(token:vocabulary:)``, and what the device throws.
  func run(
    _ tokens: ArraySlice<TokenID>, wanted: WantedLogits,
    _ read: (_ index: Int, _ logits: UnsafeBufferPointer<Float>) -> Void
  ) throws(BackendError)
  /// Continues the sequence by one token; the logits are valid until the next call.
  func decode(_ token: TokenID) throws(BackendError) -> UnsafeBufferPointer<Float>
  /// Continues the sequence by one token and chooses the one behind it.
  ///
  /// Where the device chooses by itself it goes on with that token at once, in the expectation of being
  /// asked to; whatever is done instead, nothing of that shows in the sequence.
  ///
  /// - Parameters:
  ///   - token: what follows the positions held so far.
  ///   - sampler: says how, and chooses where the device does not.
  /// - Returns: the chosen token, which the sequence does not hold yet.
  /// - Throws: what ``run(_:wanted:_:)`` throws.
  func next(after token: TokenID, by sampler: inout Sampler) throws(BackendError) -> TokenID
  /// Forgets every position from `count` on; the sequence can be continued from there.
  func truncate(to count: Int)
  /// An independent session that holds the same positions, with room for `capacity`.
  func fork(capacity: Int) throws(BackendError) -> any Session
}

/// The three runs that are never mixed.
package enum RunMode: String, Hashable, Sendable {
  /// Every row is read.
  case dense
  /// Every up row, and the down rows of neurons that are not zero.
  case exact
  /// What the session's plan chooses.
  case sparse
}

/// A decoder, a cache and a batch for one sequence.
package final class DecoderSession<B: Backend>: Session {
  private let decoder: Decoder<B>
  package let cache: B.Cache
  private let batch = StepBatch<B.Cache>()
  private var planned: PlannedRows<B>?
  /// Positions whose inputs the cache keeps.
  private let window: Int
  package var mode: RunMode {
    didSet { precondition(mode != .sparse || planned != nil, "a sparse run needs a plan") }
  }

  /// A new sequence; `sparsity` is what `mode` sparse follows.
  package init(
    decoder: Decoder<B>, capacity: Int, mode: RunMode, sparsity: Sparsity? = nil,
    defersKeys: Bool = true
  ) throws(BackendError) {
    precondition(mode != .sparse || sparsity != nil, "a sparse run needs a plan")
    self.decoder = decoder
    self.mode = mode
    planned = sparsity.map { PlannedRows(backend: decoder.backend, sparsity: $0) }
    let keeps = defersKeys && sparsity?.plan.skipsHeads == true
    window = keeps ? sparsity?.plan.window ?? 0 : 0
    cache = try decoder.backend.makeCache(capacity: capacity, window: window)
  }

  private init(
    decoder: Decoder<B>, cache: B.Cache, mode: RunMode, planned: PlannedRows<B>?, window: Int
  ) {
    self.decoder = decoder
    self.cache = cache
    self.mode = mode
    self.planned = planned
    self.window = window
  }

  package func follow(_ sparsity: Sparsity) {
    let plan = sparsity.plan
    precondition(
      planned != nil && (!plan.skipsHeads || plan.window == window),
      "a plan with a window of \(plan.window) on a cache that keeps \(window) inputs")
    planned = PlannedRows(backend: decoder.backend, sparsity: sparsity)
  }

  package var choiceObserver: ((ChooserSite, [Int32]) -> Void)? {
    get { planned?.observer }
    set { planned?.observer = newValue }
  }

  package func rows(_ axis: RowAxis, layer: Int, token: Int) -> [Int32]? {
    planned?.rows(axis, layer: layer, token: token)
  }

  package var architecture: Architecture { decoder.backend.architecture }
  package var count: Int { cache.count }
  package var capacity: Int { cache.capacity }
  package var batchCapacity: Int { decoder.backend.batchCapacity }
  package var tally: Tally {
    get { decoder.backend.tally }
    set { decoder.backend.tally = newValue }
  }

  package func run(
    _ tokens: ArraySlice<TokenID>, wanted: WantedLogits,
    _ read: (_ index: Int, _ logits: UnsafeBufferPointer<Float>) -> Void
  ) throws(BackendError) {
    var rest = tokens
    while !rest.isEmpty {
      let part = rest.prefix(decoder.backend.batchCapacity)
      rest = rest.dropFirst(part.count)
      let wants: WantedLogits = wanted == .last && !rest.isEmpty ? .none : wanted
      try step(part, wanted: wants)
      for (index, at) in batch.wanted.enumerated() {
        read(part.startIndex - tokens.startIndex + at, decoder.backend.logits(index))
      }
    }
  }

  package func decode(_ token: TokenID) throws(BackendError) -> UnsafeBufferPointer<Float> {
    try step(CollectionOfOne(token), wanted: .last)
    return decoder.backend.logits(0)
  }

  package func next(
    after token: TokenID, by sampler: inout Sampler
  ) throws(BackendError) -> TokenID {
    try step(CollectionOfOne(token), wanted: .last, rule: sampler.rule)
    return decoder.backend.chosenToken
      ?? sampler.next(decoder.backend.logits(0), position: cache.count)
  }

  private func step(
    _ tokens: some Collection<TokenID>, wanted: WantedLogits, rule: TokenRule? = nil
  ) throws(BackendError) {
    guard cache.count + tokens.count <= cache.capacity else {
      throw .contextExceeded(needed: cache.count + tokens.count, limit: cache.capacity)
    }
    let vocabulary = architecture.vocabulary
    for token in tokens where token < 0 || Int(token) >= vocabulary {
      throw .tokenOutOfRange(token: Int(token), vocabulary: vocabulary)
    }
    batch.removeAll()
    batch.append(tokens, cache: cache, wanted: wanted)
    batch.rule = rule
    switch mode {
    case .dense: try decoder.step(batch, selector: EveryRow<B>())
    case .exact: try decoder.step(batch, selector: NonzeroRows<B>())
    case .sparse:
      guard let planned else { preconditionFailure("a sparse run needs a plan") }
      planned.begin(tokens, at: cache.count)
      try decoder.step(batch, selector: planned)
    }
  }

  package func truncate(to count: Int) { cache.truncate(to: count) }

  package func fork(capacity: Int) throws(BackendError) -> any Session {
    DecoderSession(
      decoder: decoder, cache: try cache.fork(capacity: capacity), mode: mode, planned: planned,
      window: window)
  }
}
