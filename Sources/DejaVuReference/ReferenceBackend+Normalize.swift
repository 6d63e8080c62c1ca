package import DejaVuCore

extension ReferenceBackend {
  package func normalize(_ x: ReferenceBuffer, by site: NormSite, into out: ReferenceBuffer) {
    let norm =
      switch site {
      case .attention(let layer): model.layers[layer].attentionNorm
      case .mlp(let layer): model.layers[layer].mlpNorm
      }
    for t in batch.tokens.indices { out[t] = normalized(x[t], by: norm) }
  }

  /// (x − mean) / √(variance + ε) · weight + bias, where the mean is 0 by definition in
  /// root-mean-square norms: x / √(mean(x²) + ε) · weight.
  func normalized(_ x: [Float], by norm: NormWeights) -> [Float] {
    let count = Double(x.count)
    let sum = x.reduce(0.0) { $0 + Double($1) }
    let mean = architecture.normalization.kind == .layer ? sum / count : 0
    let squares = x.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
    let deviation = (squares / count + Double(architecture.normalization.epsilon)).squareRoot()
    return x.indices.map { i in
      let weight = norm.weight.map { Double($0.base[i]) } ?? 1
      let bias = norm.bias.map { Double($0.base[i]) } ?? 0
      return Float((Double(x[i]) - mean) / deviation * weight + bias)
    }
  }

  package func add(_ contribution: ReferenceBuffer, bias: BiasSite, into x: ReferenceBuffer) {
    let vector =
      switch bias {
      case .attention(let layer): model.layers[layer].outputBias
      case .mlp(let layer): model.layers[layer].downBias
      }
    for t in batch.tokens.indices {
      x[t] = x[t].indices.map { i in
        x[t][i] + contribution[t][i] + (vector?.base[i] ?? 0)
      }
    }
  }
}
