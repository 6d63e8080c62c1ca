import DejaVuCore

extension ReferenceBackend {
  /// x[t] = norm(W_in · E[token] + P[position + offset]), each part where the model has it.
  package func embed(into x: ReferenceBuffer) {
    for slice in batch.slices {
      for t in slice.start..<slice.start + slice.count {
        x[t] = embedding(of: batch.tokens[t], at: slice.position + t - slice.start)
      }
    }
  }

  private func embedding(of token: TokenID, at position: Int) -> [Float] {
    var vector = model.tokenEmbedding.row(Int(token))
    if let projectIn = model.projectIn { vector = projectIn.times(vector) }
    if case .learned(let offset) = architecture.positions, let table = model.positionEmbedding {
      vector = zip(vector, table.row(position + offset)).map { $0 + $1 }
    }
    if let norm = model.embeddingNorm { vector = normalized(vector, by: norm) }
    return vector
  }
}
