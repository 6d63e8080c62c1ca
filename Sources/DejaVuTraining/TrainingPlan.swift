package import DejaVuCore
package import DejaVuModels

/// One predictor to be trained.
package struct TrainingSite: Hashable, Sendable {
  package let site: PredictorSite
  package let rank: Int
  package let rows: Int
  /// Index of its stream in the group's samples.
  package let stream: Int

  package init(site: PredictorSite, rank: Int, rows: Int, stream: Int) {
    self.site = site
    self.rank = rank
    self.rows = rows
    self.stream = stream
  }
}

/// Predictors that are trained together, and the memory for their samples.
package struct TrainingGroup: Sendable {
  package let sites: [TrainingSite]
  package let streams: [StreamSource]
  /// Windows held at a time, and how many of them a round replaces.
  package let slots: Int
  package let fresh: Int
}

/// What is trained in which order: layers in turn where not all fit at once.
package struct TrainingPlan: Sendable {
  package let groups: [TrainingGroup]
  /// Tokens of a window.
  package let window: Int

  /// - Throws: ``TrainingError/tooLarge(what:bytes:limit:)`` where one layer alone does not fit.
  package init(
    _ model: PackedModel, _ options: TrainingOptions, batch: Int
  ) throws(TrainingError) {
    let architecture = model.architecture
    let longest = min(TrainingShape.window, architecture.context)
    // A batch of one token is computed as decoding is, and not shown to observers.
    window = longest % batch == 1 ? longest - 1 : longest
    var groups: [TrainingGroup] = []
    var layers: [Int] = []
    for layer in 0..<architecture.layers {
      if !Self.fits(layers + [layer], model, options, window) {
        guard !layers.isEmpty else { throw Self.refusal(layer, model, options) }
        groups.append(Self.group(layers, model, options, window))
        layers = []
        guard Self.fits([layer], model, options, window) else {
          throw Self.refusal(layer, model, options)
        }
      }
      layers.append(layer)
    }
    groups.append(Self.group(layers, model, options, window))
    self.groups = groups
  }

  private static func refusal(
    _ layer: Int, _ model: PackedModel, _ options: TrainingOptions
  ) -> TrainingError {
    let sites = sites([layer], model, options)
    let weights = weightBytes(sites, model.architecture)
    return weights > options.weightBytes
      ? .tooLarge(what: "training", bytes: weights, limit: options.weightBytes)
      : .tooLarge(
        what: "a sample", bytes: tokenBytes(sites, model.architecture) * minimumTokens,
        limit: options.sampleBytes)
  }

  /// Held-out tokens and a few windows.
  private static let minimumTokens = TrainingShape.heldOutTokens + 4 * TrainingShape.window

  private static func fits(
    _ layers: [Int], _ model: PackedModel, _ options: TrainingOptions, _ window: Int
  ) -> Bool {
    let sites = sites(layers, model, options)
    return weightBytes(sites, model.architecture) <= options.weightBytes
      && tokenBytes(sites, model.architecture) * minimumTokens <= options.sampleBytes
  }

  private static func group(
    _ layers: [Int], _ model: PackedModel, _ options: TrainingOptions, _ window: Int
  ) -> TrainingGroup {
    let sites = sites(layers, model, options)
    let room =
      options.sampleBytes / tokenBytes(sites, model.architecture) - TrainingShape.heldOutTokens
    let slots = max(1, min(TrainingShape.slots, room / window))
    // About 3 TFLOP a round, so that a round stays well below a minute on two cores.
    let weights = model.layers.reduce(0) { $0 + parameters($1) }
    let affordable = 3_000_000_000_000 / max(2 * weights * window, 1)
    return TrainingGroup(
      sites: sites, streams: streams(sites), slots: slots,
      fresh: max(1, min(slots / 4, affordable)))
  }

  private static func parameters(_ layer: PackedLayer) -> Int {
    [layer.query, layer.key, layer.value, layer.output, layer.bundle.matrix]
      .reduce(0) { $0 + $1.rows * $1.columns }
  }

  /// Values and two moments of every weight, as floats.
  private static func weightBytes(_ sites: [TrainingSite], _ architecture: Architecture) -> Int {
    sites.reduce(0) { total, site in
      let rows = Padding.width(site.rows)
      return total + 12 * (site.rank * (Padding.width(architecture.hidden) + rows) + rows)
    }
  }

  /// Streams in half precision and a byte per row.
  private static func tokenBytes(_ sites: [TrainingSite], _ architecture: Architecture) -> Int {
    streams(sites).count * Padding.width(architecture.hidden) * 2
      + sites.reduce(0) { $0 + $1.rows }
  }

  private static func streams(_ sites: [TrainingSite]) -> [StreamSource] {
    sites.map { StreamSource($0.site) }.reduce(into: []) { list, stream in
      if !list.contains(stream) { list.append(stream) }
    }
  }

  private static func sites(
    _ layers: [Int], _ model: PackedModel, _ options: TrainingOptions
  ) -> [TrainingSite] {
    var (sites, streams): ([TrainingSite], [StreamSource]) = ([], [])
    for layer in layers {
      for axis in options.axes {
        let site = PredictorSite(
          axis: axis, layer: layer, placement: options.placement(axis, layer: layer))
        let source = StreamSource(site)
        if !streams.contains(source) { streams.append(source) }
        sites.append(
          TrainingSite(
            site: site, rank: rank(axis, layer: model.layers[layer], model.architecture, options),
            rows: axis.rows(model.architecture), stream: streams.firstIndex(of: source) ?? 0))
      }
    }
    return sites
  }

  /// The greatest multiple of 64 whose bytes are within the budget, at least 64.
  ///
  /// A product has no higher rank than it has rows: heads need no more than their number.
  static func rank(
    _ axis: RowAxis, layer: PackedLayer, _ architecture: Architecture, _ options: TrainingOptions
  ) -> Int {
    if axis == .neurons, let rank = options.rank { return rank }
    let bytes = axis == .neurons ? layer.bundle.byteCount : layer.attentionBytes
    let rows = axis.rows(architecture)
    var rank = 64
    while rank < (rows + 63) / 64 * 64, rank < architecture.hidden,
      Double(predictorBytes(rank + 64, rows, architecture, options.bits)) <= options.budget
        * Double(bytes)
    {
      rank += 64
    }
    return rank
  }

  private static func predictorBytes(
    _ rank: Int, _ rows: Int, _ architecture: Architecture, _ bits: Int
  ) -> Int {
    rank * GroupwiseMatrix.rowBytes(columns: PredictorEntry.columns(architecture), bits: bits)
      + rows * GroupwiseMatrix.rowBytes(columns: rank, bits: bits)
  }
}
