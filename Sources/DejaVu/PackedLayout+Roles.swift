package import DejaVuFormats

extension PackedLayout.Entry {
  /// The weights that fill the tensor, in the order of their rows: those of a neuron for the MLP's
  /// bundle, else one.
  package var roles: [WeightRole] {
    if let whole = Self.wholeModelRoles[name] { return [whole] }
    let parts = name.split(separator: ".")
    guard parts.count > 2, parts[0] == "layers", let layer = Int(parts[1]) else { return [] }
    let rest = parts.dropFirst(2).joined(separator: ".")
    if rest == "mlp.bundle" {
      let kinds: [WeightRole.LayerRole] = shape[1] == 3 ? [.gate, .up, .down] : [.up, .down]
      return kinds.map { .layer(layer, $0) }
    }
    return Self.layerRoles[rest].map { [.layer(layer, $0)] } ?? []
  }

  /// The weight whose rows share what the tensor holds, where that is scales.
  package var scaledRole: WeightRole? {
    let parts = name.split(separator: ".")
    guard case .scales = format, parts.count == 4, let layer = Int(parts[1]) else { return nil }
    return .layer(layer, parts[2] == "attention" ? .output : .down)
  }

  private static let wholeModelRoles: [String: WeightRole] = [
    "embed.tokens": .tokenEmbedding, "embed.positions": .positionEmbedding,
    "embed.norm.weight": .embeddingNorm(.weight), "embed.norm.bias": .embeddingNorm(.bias),
    "project.in": .projectIn, "project.out": .projectOut, "head": .head,
    "final_norm.weight": .finalNorm(.weight), "final_norm.bias": .finalNorm(.bias),
  ]

  private static let layerRoles: [String: WeightRole.LayerRole] = [
    "attention.norm.weight": .attentionNorm(.weight), "attention.norm.bias": .attentionNorm(.bias),
    "attention.query": .query, "attention.key": .key, "attention.value": .value,
    "attention.output": .output, "attention.query_bias": .queryBias,
    "attention.key_bias": .keyBias, "attention.value_bias": .valueBias,
    "attention.output_bias": .outputBias, "mlp.norm.weight": .mlpNorm(.weight),
    "mlp.norm.bias": .mlpNorm(.bias), "mlp.up_bias": .upBias, "mlp.gate_bias": .gateBias,
    "mlp.down_bias": .downBias,
  ]
}
