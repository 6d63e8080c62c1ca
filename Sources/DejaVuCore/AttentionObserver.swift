/// How one layer's attention weighed what it saw, for the tokens of one sequence; valid during the
/// call that shows it.
package struct AttentionView {
  /// `[H, T, P]`, rows `weightStride` apart: head i's weights of the positions 0..<P for token t;
  /// they sum to 1, and are 0 at positions that the token does not see.
  package let weights: UnsafePointer<Float>
  package let weightStride: Int
  /// `[T, K · h]`, rows `valueStride` apart: the values that the batch's own tokens brought.
  package let values: UnsafePointer<Float>
  package let valueStride: Int
  /// `[T, H · h]`, rows `contextStride` apart: the weighted sums, one for every head.
  package let context: UnsafePointer<Float>
  package let contextStride: Int
  /// T, and the position of the first token.
  package let tokens: Int
  package let position: Int

  package init(
    weights: UnsafePointer<Float>, weightStride: Int, values: UnsafePointer<Float>,
    valueStride: Int, context: UnsafePointer<Float>, contextStride: Int, tokens: Int, position: Int
  ) {
    (self.weights, self.weightStride) = (weights, weightStride)
    (self.values, self.valueStride) = (values, valueStride)
    (self.context, self.contextStride) = (context, contextStride)
    (self.tokens, self.position) = (tokens, position)
  }

  /// Weights of the positions that come up to and with a token's own, `[position + t + 1]`.
  package func weights(head: Int, token: Int) -> UnsafeBufferPointer<Float> {
    precondition(token < tokens, "token \(token) of \(tokens)")
    return UnsafeBufferPointer(
      start: weights + (head * tokens + token) * weightStride, count: position + token + 1)
  }
}

/// Sees the weights that a prompt's attention computed: for looking into heads.
///
/// The weights are the engine's own, copied while its attention runs; nothing is computed twice, and
/// nothing is copied while nobody looks. Batches of one token are not shown.
package protocol AttentionObserver: AnyObject {
  /// A layer's attention is done for one sequence of a batch, before any head is left out.
  func observe(layer: Int, _ view: AttentionView)
}
