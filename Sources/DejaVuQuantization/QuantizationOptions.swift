package import DejaVuCore

/// How a model is quantized.
package struct QuantizationOptions: Hashable, Sendable {
  package enum Method: String, CaseIterable, Hashable, Sendable {
    /// Round to nearest.
    case rtn
    /// Shrunk ranges, by squared error.
    case search
    /// Feedback from input to input, by the text's second moments.
    case gptq
  }

  package var method: Method
  /// Of the matrices of blocks.
  package var blocks: GroupwiseFormat
  /// Of the token embedding, unless it is the head too; nil leaves it as it is.
  package var embedding: GroupwiseFormat?
  /// Of the head; nil leaves it as it is.
  package var head: GroupwiseFormat?
  /// Whether the search counts errors by the second moments of the inputs; needs a text.
  package var weighsInputs = false
  /// Whether GPTQ rounds the strongest inputs first.
  package var ordersByStrength = false
  /// How GPTQ finds the scales of its groups.
  package var fit = GroupFit.Method.search
  /// What GPTQ adds to the diagonal of the moments, in units of its mean.
  package var damping: Float = 0.01

  package init(
    method: Method, blocks: GroupwiseFormat, embedding: GroupwiseFormat?, head: GroupwiseFormat?
  ) {
    self.method = method
    self.blocks = blocks
    self.embedding = embedding
    self.head = head
  }

  /// Whether the model has to read a text.
  package var needsText: Bool { method == .gptq || weighsInputs }
}
