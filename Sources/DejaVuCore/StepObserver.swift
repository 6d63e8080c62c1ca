/// The places of a block that can be watched.
package enum StepSite: Hashable, Sendable {
  /// x_l `[T, D]`, the residual stream at the layer's input, before any norm.
  case attentionInput
  /// ỹ_l `[T, D]`, the stream behind its attention, before any norm; x_l in parallel blocks.
  case mlpInput
  /// `[T, H · h]`, what attention hands to the output projection.
  case context
  /// `[T, F]`, neurons after the activation; in gated MLPs the product with the gate.
  case activations
  /// x_L `[T, D]`, the stream behind the last layer, before the final norm.
  case output
}

/// Sees what passes through a prompt's blocks: for recording and measuring.
///
/// Batches of one token, which decoding is made of, are not shown.
package protocol StepObserver: AnyObject {
  /// Whether a site is looked at: what nobody wants need not come from a card.
  func wants(_ site: StepSite, layer: Int) -> Bool

  /// A batch has come to a site of a layer; sites come in the order of the computation.
  ///
  /// - Parameters:
  ///   - site: the place in the block.
  ///   - layer: the block.
  ///   - values: `[tokens, stride]`; row t belongs to the batch's token t. Valid during the call.
  ///   - tokens: T, at least 2.
  ///   - stride: floats from one row to the next.
  func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int)
}

extension StepObserver {
  package func wants(_ site: StepSite, layer: Int) -> Bool { true }
}
