import DejaVu
package import DejaVuCUDA
package import DejaVuCore
package import DejaVuModels

/// Measures decoding of synthetic weights on a card, dense and sparse in turn.
///
/// Choosers have a threshold for each layer, as calibrated plans do: the mean, over a few tokens, of
/// the score that as many rows exceed as the density asks for. What it came to is in each row's
/// tally.
///
/// No prompt is computed: the cache holds zeros up to its depth, which takes the same time to read.
package struct CardBench {
  /// What is measured.
  package struct Options {
    package var depths = [128, 1024]
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
  }

  /// Tokens whose scores thresholds are set by, after as many that settle the stream.
  private static let calibration = 16

  /// Steps before the clock is read: the first is looked at, the second recorded.
  private static let settling = 4

  private let backend: CUDABackend
  private let decoder: Decoder<CUDABackend>
  private let options: Options
  private let batch = StepBatch<CUDACache>()

  package init(_ backend: CUDABackend, options: Options) {
    self.backend = backend
    self.options = options
    decoder = Decoder(backend: backend)
    backend.timesSteps = true
  }

  /// Measures every depth, dense and sparse in turn.
  ///
  /// - Parameter step: called before each measurement; it may throw to give up.
  /// - Returns: a row for each depth and mode.
  /// - Throws: ``BackendError``, or what `step` throws.
  package func run(step: () throws -> Void) throws -> [CardRow] {
    let probe = try DeviceBandwidth(backend)
    var sparse: PlannedRows<CUDABackend>?
    if options.mlpDensity != nil || options.headDensity != nil {
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
      sparse = PlannedRows(backend: backend, sparsity: try withThresholds(made.sparsity))
    }
    var rows: [CardRow] = []
    _ = try probe.sample()
    for depth in options.depths {
      var (dense, chosen) = (
        CardRow(mode: .dense, depth: depth), CardRow(mode: .sparse, depth: depth)
      )
      let capacity = depth + Self.settling + options.tokens
      let caches = (
        try backend.makeCache(capacity: capacity, window: 0),
        try backend.makeCache(capacity: capacity, window: options.window)
      )
      for round in 0..<options.rounds {
        try step()
        let bandwidth = try probe.sample()
        dense.bandwidth.append(bandwidth)
        chosen.bandwidth.append(bandwidth)
        try measure(&dense, caches.0, EveryRow<CUDABackend>(), round: round)
        guard let sparse else { continue }
        try measure(&chosen, caches.1, sparse, round: round)
      }
      rows.append(dense)
      guard let sparse else { continue }
      chosen.overlap = try overlap(sparse, caches.1, depth: depth)
      rows.append(chosen)
    }
    return rows
  }

  /// The same choosers with thresholds in the place of numbers of rows.
  private func withThresholds(_ counted: Sparsity) throws -> Sparsity {
    let cache = try backend.makeCache(
      capacity: 2 * Self.calibration + Self.settling, window: options.window)
    let selector = PlannedRows(backend: backend, sparsity: counted)
    var sums = counted.choosers.mapValues { _ in 0.0 }
    backend.measuresLevels = true
    for index in 0..<2 * Self.calibration {
      try decode(cache, selector, stream: 98, index: index)
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

  private func measure<S: Selector>(
    _ row: inout CardRow, _ cache: CUDACache, _ selector: S, round: Int
  ) throws where S.B == CUDABackend {
    cache.skip(to: row.depth)
    let clock = ContinuousClock()
    for index in 0..<Self.settling + options.tokens {
      if index == Self.settling { backend.tally = Tally() }
      let start = clock.now
      try decode(cache, selector, stream: round, index: index)
      guard index >= Self.settling else { continue }
      row.milliseconds.append((clock.now - start) / .milliseconds(1))
      row.deviceMilliseconds.append(backend.stepMilliseconds)
    }
    row.tally = backend.tally
    row.nodes = backend.graphNodes
  }

  private func decode<S: Selector>(
    _ cache: CUDACache, _ selector: S, stream: Int, index: Int
  ) throws where S.B == CUDABackend {
    let draw = Sampler.uniform(
      seed: options.seed &+ UInt64(stream) &* 104_729, counter: UInt64(index))
    let token = TokenID(draw * Double(backend.architecture.vocabulary))
    batch.removeAll()
    batch.append(CollectionOfOne(token), cache: cache, wanted: .last)
    try decoder.step(batch, selector: selector)
  }

  /// Mean share of a token's neurons that the next one chooses again, in the middle layer.
  private func overlap(
    _ sparse: PlannedRows<CUDABackend>, _ cache: CUDACache, depth: Int
  ) throws -> Double? {
    cache.skip(to: depth)
    var last: Set<Int32>?
    var shares: [Double] = []
    for index in 0..<8 {
      try decode(cache, sparse, stream: 99, index: index)
      let layer = backend.architecture.layers / 2
      guard let rows = sparse.rows(.neurons, layer: layer, token: 0), !rows.isEmpty else {
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
