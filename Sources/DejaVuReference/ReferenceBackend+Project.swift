import DejaVuCore

extension ReferenceBackend {
  /// logits[w] = W_head · W_out · norm(x[w]), each part where the model has it.
  package func project(_ x: ReferenceBuffer) {
    store(
      logits: batch.wanted.map { t in
        var vector = x[t]
        if let norm = model.finalNorm { vector = normalized(vector, by: norm) }
        if let projectOut = model.projectOut { vector = projectOut.times(vector) }
        return model.head.times(vector)
      })
  }
}
