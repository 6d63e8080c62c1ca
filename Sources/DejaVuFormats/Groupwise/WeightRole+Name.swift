extension WeightRole {
  /// What a matrix in codes is called in files of ours, such as `layers.3.mlp.down`: its tensors are
  /// this with `.codes`, `.scales` and `.zeros` behind. Nil for what is never in codes.
  package var quantizedName: String? {
    switch self {
    case .tokenEmbedding: "embed.tokens"
    case .head: "head"
    case .layer(let layer, let role): role.quantizedName.map { "layers.\(layer).\($0)" }
    case .positionEmbedding, .projectIn, .projectOut, .embeddingNorm, .finalNorm: nil
    }
  }
}

extension WeightRole.LayerRole {
  /// Every matrix of a block, in the order of the computation.
  package static let matrices: [WeightRole.LayerRole] = [
    .query, .key, .value, .output, .gate, .up, .down,
  ]

  fileprivate var quantizedName: String? {
    switch self {
    case .query: "attention.query"
    case .key: "attention.key"
    case .value: "attention.value"
    case .output: "attention.output"
    case .gate: "mlp.gate"
    case .up: "mlp.up"
    case .down: "mlp.down"
    default: nil
    }
  }
}
