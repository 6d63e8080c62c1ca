package import DejaVu
package import DejaVuCUDA
package import DejaVuCore
package import DejaVuModels

/// What a card decodes while it is measured.
package enum CardSubject {
  /// Random weights, with random choosers of the densities that the options name.
  ///
  /// Tokens are drawn at a temperature that lets them differ, and no prompt is computed: the cache holds zeros up to its depth, which takes the
  /// same time to read.
  case random
  /// A trained model, and the plan that its sparse runs follow.
  ///
  /// Tokens are a text of the model's own behind `first`, drawn at a temperature of 1, so that blocks see
  /// what they were trained for; caches hold its first tokens.
  case trained(first: TokenID, sparsity: Sparsity?)
}

/// Measures decoding on a card, its modes in turn.
///
/// Each token is drawn by the card from the step before it, as texts are generated; the next step begins
/// before the host has seen it.
///
/// Random choosers have a threshold for each layer, as calibrated plans do: the mean, over a few tokens, of
/// the score that as many rows exceed as the density asks for. What it came to is in each row's
/// tally.
package struct CardBench {
  /// What is measured.
  package struct Options {
    package var depths = [128, 1024]
    package var modes = [RunMode.dense]
    package var tokens = 64
    package var rounds = 3
    package var mlpDensity: Double?
    package var headDensity: Double?
    package var rank = 1024
    package var bits = 8
    package var window = 16
    package var seed: UInt64 = 1
    /// Where the choosers of neurons look, and those of heads: half a layer and a layer early, beside
    /// other work.
    package var neuronPlacement = Placement.blockAhead
    package var headPlacement = Placement.layerAhead

    package init() {}

    /// Positions of the longest sequence.
    package var longestSequence: Int { (depths.max() ?? 0) + CardBench.settling + tokens }
  }

  /// Tokens whose scores thresholds are set by, after as many that settle the stream.
  private static let calibration = 16

  /// Steps before the clock is read: the first is looked at, the second recorded.
  fileprivate static let settling = 4

  private let backend: CUDABackend
  private let decoder: Decoder<CUDABackend>
  private let subject: CardSubject
  private let options: Options

  package init(_ backend: CUDABackend, _ subject: CardSubject, options: Options) {
    self.backend = backend
    self.subject = subject
    self.options = options
    decoder = Decoder(backend: backend)
    backend.timesSteps = true
  }

  /// Measures every depth, all modes in turn.
  ///
  /// - Parameter step: called before each measurement of all modes; it may throw to give up.
  /// - Returns: a row for each depth and mode.
  /// - Throws: ``BackendError``, or what `step` throws.
  package func run(step: () throws -> Void) throws -> [CardRow] {
    let probe = try DeviceBandwidth(backend)
    let sparsity = try options.modes.contains(.sparse) ? followed() : nil
    let text = try ownText()
    let sampling = try sampling()
    var rows: [CardRow] = []
    _ = try probe.sample()
    for depth in options.depths {
      var own = options.modes.map { CardRow(mode: $0, depth: depth) }
      let sessions = try options.modes.map { mode in
        try session(depth: depth, mode, sparsity, after: text)
      }
      for round in 0..<options.rounds {
        try step()
        let bandwidth = try probe.sample()
        for index in own.indices {
          own[index].bandwidth.append(bandwidth)
          try measure(&own[index], sessions[index], text, sampling, round: round)
        }
      }
      for index in own.indices where own[index].mode == .sparse {
        own[index].overlap = try overlap(sessions[index], text, depth: depth)
      }
      rows += own
    }
    return rows
  }

  // What sparse runs follow -------------------------------------------------------------------------

  private func followed() throws -> Sparsity? {
    if case .trained(_, let sparsity) = subject { return sparsity }
    var synthetic = SyntheticSparsity.Options()
    // Nothing looks at a card's scores, so no threshold can be found.
    synthetic.rule = .count
    (synthetic.mlpDensity, synthetic.headDensity) = (
      options.mlpDensity ?? 1, options.headDensity ?? 1
    )
    (synthetic.rank, synthetic.bits) = (options.rank, options.bits)
    (synthetic.window, synthetic.seed) = (options.window, options.seed)
    synthetic.neuronPlacement = options.neuronPlacement
    synthetic.headPlacement = options.headPlacement
    let made = SyntheticSparsity(architecture: backend.architecture, options: synthetic)
    return try withThresholds(made.sparsity)
  }

  /// The same choosers with thresholds in the place of numbers of rows.
  private func withThresholds(_ counted: Sparsity) throws -> Sparsity {
    let session = try DecoderSession(
      decoder: decoder, capacity: 2 * Self.calibration, mode: .sparse, sparsity: counted)
    var sums = counted.choosers.mapValues { _ in 0.0 }
    backend.measuresLevels = true
    for index in 0..<2 * Self.calibration {
      _ = try session.decode(drawn(stream: 98, index: index))
      guard index >= Self.calibration else { continue }
      for (site, weights) in counted.choosers {
        sums[site, default: 0] += Double(backend.level(of: weights) ?? 0)
      }
    }
    backend.measuresLevels = false
    var plan = counted.plan
    for layer in plan.layers.indices {
      let threshold = { (axis: RowAxis, placement: Placement) in
        let site = ChooserSite(layer: layer, axis: axis, kind: .lowRank(placement))
        return ChoiceRule.threshold(Float((sums[site] ?? 0) / Double(Self.calibration)))
      }
      if case .lowRank(let placement, _) = plan.layers[layer].heads {
        plan.layers[layer].heads = .lowRank(placement, threshold(.heads, placement))
      }
      if case .lowRank(let placement, _) = plan.layers[layer].neurons {
        plan.layers[layer].neurons = .lowRank(placement, threshold(.neurons, placement))
        // Synthetic neurons are active beside sparse runs.
        plan.layers[layer].measured["precision"] = SyntheticSparsity.reluDensity
      }
    }
    return Sparsity(plan: plan, choosers: counted.choosers)
  }

  // Tokens ------------------------------------------------------------------------------------------

  /// A trained model's text, long enough for the deepest run; empty where tokens are drawn.
  private func ownText() throws -> [TokenID] {
    guard case .trained(let first, _) = subject else { return [] }
    let session = try DecoderSession(
      decoder: decoder, capacity: options.longestSequence, mode: .dense)
    var sampler = Sampler(
      options: SamplingOptions(temperature: 1, seed: options.seed),
      vocabulary: backend.architecture.vocabulary)
    var text = [first]
    while text.count < session.capacity {
      let logits = try session.decode(text[text.count - 1])
      text.append(sampler.next(logits, position: text.count))
    }
    return text
  }

  /// How tokens are drawn: random weights repeat themselves unless their logits are brought together.
  private func sampling() throws -> SamplingOptions {
    guard case .random = subject else { return SamplingOptions(temperature: 1, seed: options.seed) }
    let session = try DecoderSession(decoder: decoder, capacity: 1, mode: .dense)
    let logits = try session.decode(drawn(stream: 97, index: 0))
    let mean = logits.reduce(0.0) { $0 + Double($1) } / Double(logits.count)
    let spread = Double(logits.max() ?? 0) - mean
    return SamplingOptions(temperature: max(spread / 6, 1e-3), seed: options.seed)
  }

  private func drawn(stream: Int, index: Int) -> TokenID {
    let draw = Sampler.uniform(
      seed: options.seed &+ UInt64(stream) &* 104_729, counter: UInt64(index))
    return TokenID(draw * Double(backend.architecture.vocabulary))
  }

  /// A sequence of `depth` positions.
  private func session(
    depth: Int, _ mode: RunMode, _ sparsity: Sparsity?, after text: [TokenID]
  ) throws -> DecoderSession<CUDABackend> {
    let session = try DecoderSession(
      decoder: decoder, capacity: depth + Self.settling + options.tokens, mode: .dense,
      sparsity: mode == .sparse ? sparsity : nil)
    if !text.isEmpty { try session.run(text.prefix(depth), wanted: .none) { _, _ in } }
    session.mode = mode
    return session
  }

  // Measuring ---------------------------------------------------------------------------------------

  /// Cuts a sequence back, or fills it with zeros.
  private func rewind(_ session: DecoderSession<CUDABackend>, to depth: Int) {
    if case .random = subject { session.cache.skip(to: depth) } else { session.truncate(to: depth) }
  }

  private func measure(
    _ row: inout CardRow, _ session: DecoderSession<CUDABackend>, _ text: [TokenID],
    _ sampling: SamplingOptions, round: Int
  ) throws {
    rewind(session, to: row.depth)
    var sampling = sampling
    sampling.seed &+= UInt64(round)
    var sampler = Sampler(options: sampling, vocabulary: backend.architecture.vocabulary)
    var token = text.isEmpty ? drawn(stream: round, index: 0) : text[row.depth]
    let clock = ContinuousClock()
    for index in 0..<Self.settling + options.tokens {
      if index == Self.settling { backend.tally = Tally() }
      let start = clock.now
      token = try session.next(after: token, by: &sampler)
      guard index >= Self.settling else { continue }
      row.milliseconds.append((clock.now - start) / .milliseconds(1))
      row.deviceMilliseconds.append(backend.stepMilliseconds)
    }
    row.tally = backend.tally
    row.nodes = backend.graphNodes
  }

  /// Mean share of a token's neurons that the next one chooses again, in the middle layer.
  private func overlap(
    _ session: DecoderSession<CUDABackend>, _ text: [TokenID], depth: Int
  ) throws -> Double? {
    rewind(session, to: depth)
    var last: Set<Int32>?
    var shares: [Double] = []
    for index in 0..<min(8, Self.settling + options.tokens) {
      let token = text.isEmpty ? drawn(stream: 99, index: index) : text[depth + index]
      _ = try session.decode(token)
      let layer = backend.architecture.layers / 2
      guard let rows = session.rows(.neurons, layer: layer, token: 0), !rows.isEmpty else {
        continue
      }
      if let last { shares.append(Double(last.intersection(rows).count) / Double(last.count)) }
      last = Set(rows)
    }
    return shares.isEmpty ? nil : shares.reduce(0, +) / Double(shares.count)
  }
}

/// One mode at one depth on a card.
package struct CardRow {
  package let mode: RunMode
  package let depth: Int
  /// Of every token: by the host's clock, and by the card's.
  package internal(set) var milliseconds: [Double] = []
  package internal(set) var deviceMilliseconds: [Double] = []
  /// Gigabytes per second of reading weights, one for each round.
  package internal(set) var bandwidth: [Double] = []
  package internal(set) var tally = Tally()
  package internal(set) var nodes = 0
  /// Mean share of neurons that neighbouring tokens share; nil where every neuron is computed.
  package internal(set) var overlap: Double?

  init(mode: RunMode, depth: Int) { (self.mode, self.depth) = (mode, depth) }

  package var bytesPerToken: Double { Double(tally.bytes) / Double(max(tally.tokens, 1)) }
  /// Share of the read bandwidth that was measured in the same rounds.
  package var share: Double {
    let rate = bytesPerToken / (Self.median(milliseconds) * 1e6)
    return rate / Self.median(bandwidth)
  }

  package static func median(_ values: [Double]) -> Double {
    guard !values.isEmpty else { return .nan }
    return values.sorted()[values.count / 2]
  }
}
