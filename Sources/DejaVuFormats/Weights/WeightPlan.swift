import DejaVuCore

/// Every weight that an architecture implies, with the place where its family stores it.
///
/// A plan is made from the configuration alone, so that a file can be held against it before
/// anything is copied. Vectors are views of one column.
struct WeightPlan {
  let architecture: Architecture
  let names: WeightNames
  let prefix: String
  private(set) var views: [(role: WeightRole, view: TensorView)] = []

  /// - Parameters:
  ///   - architecture: whose weights; its sizes are within the caps of a configuration.
  ///   - names: what its family calls them.
  ///   - prefix: what stands before every name but the head's.
  init(_ architecture: Architecture, names: WeightNames, prefix: String) {
    self.architecture = architecture
    self.names = names
    self.prefix = prefix
    addEnds()
    for index in 0..<architecture.layers { addLayer(index) }
  }

  /// The view of the head; a tied head that is stored all the same must have this shape too.
  static func head(_ architecture: Architecture, names: WeightNames) -> TensorView {
    .plain(
      names.head + ".weight", rows: architecture.vocabulary,
      columns: architecture.embeddingWidth)
  }

  /// What comes before the first layer and after the last.
  private mutating func addEnds() {
    let a = architecture
    add(
      .tokenEmbedding,
      .plain(
        prefix + names.tokenEmbedding + ".weight", rows: a.vocabulary, columns: a.embeddingWidth))
    if case .learned(let offset) = a.positions {
      add(
        .positionEmbedding,
        .plain(
          prefix + names.positionEmbedding + ".weight", rows: a.context + offset,
          columns: a.hidden))
    }
    if a.projectsEmbedding {
      add(
        .projectIn,
        .plain(prefix + "project_in.weight", rows: a.hidden, columns: a.embeddingWidth))
      add(
        .projectOut,
        .plain(prefix + "project_out.weight", rows: a.embeddingWidth, columns: a.hidden))
    }
    if a.hasEmbeddingNorm {
      addNorm(prefix + names.embeddingNorm) { .embeddingNorm($0) }
    }
    if a.hasFinalNorm { addNorm(prefix + names.finalNorm) { .finalNorm($0) } }
    if !a.tiesHead { add(.head, Self.head(a, names: names)) }
  }

  private mutating func addLayer(_ index: Int) {
    let a = architecture
    let start = prefix + names.layer + "\(index)."
    addNorm(start + names.attentionNorm) { .layer(index, .attentionNorm($0)) }
    addNorm(start + names.mlpNorm) { .layer(index, .mlpNorm($0)) }
    addAttention(index, start)
    let lanes = a.heads * a.headWidth
    addTransposed(.layer(index, .output), start + names.output, rows: lanes, columns: a.hidden)
    if a.biases.attentionOutput {
      add(.layer(index, .outputBias), .vector(start + names.output + ".bias", a.hidden))
    }
    if a.isGated {
      addStraight(.layer(index, .gate), start + names.gate, rows: a.neurons, columns: a.hidden)
    }
    addStraight(.layer(index, .up), start + names.up, rows: a.neurons, columns: a.hidden)
    addTransposed(.layer(index, .down), start + names.down, rows: a.neurons, columns: a.hidden)
    guard a.biases.mlp else { return }
    if a.isGated {
      add(.layer(index, .gateBias), .vector(start + names.gate + ".bias", a.neurons))
    }
    add(.layer(index, .upBias), .vector(start + names.up + ".bias", a.neurons))
    add(.layer(index, .downBias), .vector(start + names.down + ".bias", a.hidden))
  }

  private mutating func addAttention(_ index: Int, _ start: String) {
    let a = architecture
    let parts: [(matrix: WeightRole.LayerRole, bias: WeightRole.LayerRole, lanes: Int)] = [
      (.query, .queryBias, a.heads * a.headWidth),
      (.key, .keyBias, a.kvHeads * a.headWidth),
      (.value, .valueBias, a.kvHeads * a.headWidth),
    ]
    for (place, part) in parts.enumerated() {
      let matrix: TensorView
      let bias: TensorView
      switch names.attention {
      case .separate(let query, let key, let value):
        let name = start + [query, key, value][place]
        matrix = .plain(name + ".weight", rows: part.lanes, columns: a.hidden)
        bias = .vector(name + ".bias", part.lanes)
      case .stacked(let name):
        matrix = .stacked(start + name + ".weight", place, width: part.lanes, columns: a.hidden)
        bias = .stackedVector(start + name + ".bias", place, width: part.lanes)
      case .interleaved(let name):
        matrix = .interleaved(
          start + name + ".weight", place, heads: a.heads, headWidth: a.headWidth,
          columns: a.hidden)
        bias = .interleavedVector(
          start + name + ".bias", place, heads: a.heads, headWidth: a.headWidth)
      }
      add(.layer(index, part.matrix), matrix)
      if a.biases.queryKeyValue { add(.layer(index, part.bias), bias) }
    }
  }

  // MARK: Pieces

  private mutating func add(_ role: WeightRole, _ view: TensorView) {
    views.append((role, view))
  }

  private mutating func addNorm(_ name: String, _ role: (WeightRole.NormPart) -> WeightRole) {
    if architecture.normalization.hasWeight {
      add(role(.weight), .vector(name + ".weight", architecture.hidden))
    }
    if architecture.normalization.hasBias {
      add(role(.bias), .vector(name + ".bias", architecture.hidden))
    }
  }

  /// A matrix whose rows are the outputs of the stored one.
  private mutating func addStraight(_ role: WeightRole, _ name: String, rows: Int, columns: Int) {
    let name = name + ".weight"
    add(
      role,
      names.storesInputsFirst
        ? .transposed(name, rows: rows, columns: columns)
        : .plain(name, rows: rows, columns: columns))
  }

  /// A matrix whose rows are the inputs of the stored one.
  private mutating func addTransposed(
    _ role: WeightRole, _ name: String, rows: Int, columns: Int
  ) {
    let name = name + ".weight"
    add(
      role,
      names.storesInputsFirst
        ? .plain(name, rows: rows, columns: columns)
        : .transposed(name, rows: rows, columns: columns))
  }
}
