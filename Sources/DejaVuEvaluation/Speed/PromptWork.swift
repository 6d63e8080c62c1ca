package import DejaVuCore

/// Arithmetic of the prompt phase, counted from the architecture.
package enum PromptWork {
  /// Multiplications and additions of one prompt: two for every weight of every product and
  /// token, the head for one position only, and causal attention for half of all pairs.
  ///
  /// Embeddings, norms, biases, activations and softmax are not counted.
  package static func flops(_ a: Architecture, tokens: Int) -> Double {
    let attention = 2 * (a.heads + a.kvHeads) * a.headWidth * a.hidden
    let weights = a.layers * (attention + a.rowsPerNeuron * a.neurons * a.hidden)
    let projections = a.projectsEmbedding ? a.embeddingWidth * a.hidden : 0
    let pairs = tokens * (tokens + 1) / 2
    let scores = 4 * a.layers * a.heads * a.headWidth * pairs
    return Double(2 * weights) * Double(tokens) + Double(scores)
      + Double(2 * projections * (tokens + 1)) + Double(2 * a.vocabulary * a.embeddingWidth)
  }
}
