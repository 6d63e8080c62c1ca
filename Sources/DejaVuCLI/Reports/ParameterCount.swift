import DejaVuCore

/// Numbers that an architecture has, by part; padding is not counted.
struct ParameterCount: Hashable {
  var embedding = 0
  var positions = 0
  var attention = 0
  var mlp = 0
  var norms = 0
  var projections = 0
  /// 0 when the head is the token embedding.
  var head = 0

  /// No product overflows: `ModelConfig` bounds every factor.
  init(_ a: Architecture) {
    let (lanes, kvLanes) = (a.heads * a.headWidth, a.kvHeads * a.headWidth)
    embedding = a.vocabulary * a.embeddingWidth
    if case .learned(let offset) = a.positions { positions = (a.context + offset) * a.hidden }
    projections = a.projectsEmbedding ? 2 * a.hidden * a.embeddingWidth : 0
    head = a.tiesHead ? 0 : embedding
    var perAttention = 2 * (lanes + kvLanes) * a.hidden
    if a.biases.queryKeyValue { perAttention += lanes + 2 * kvLanes }
    if a.biases.attentionOutput { perAttention += a.hidden }
    var perMLP = a.rowsPerNeuron * a.neurons * a.hidden
    if a.biases.mlp { perMLP += (a.rowsPerNeuron - 1) * a.neurons + a.hidden }
    attention = a.layers * perAttention
    mlp = a.layers * perMLP
    let perNorm = a.normalization.hasWeight ? (a.normalization.hasBias ? 2 : 1) * a.hidden : 0
    norms = (2 * a.layers + (a.hasFinalNorm ? 1 : 0) + (a.hasEmbeddingNorm ? 1 : 0)) * perNorm
  }

  var total: Int { parts.reduce(0) { $0 + $1.count } }

  /// Parts that the model has, in the order of computation.
  var parts: [(key: String, title: String, count: Int)] {
    [
      ("embedding", "token embedding", embedding), ("positions", "positions", positions),
      ("projections", "projections", projections), ("attention", "attention", attention),
      ("mlp", "MLP", mlp), ("norms", "norms", norms), ("head", "head", head),
    ].filter { $0.2 > 0 }
  }
}
