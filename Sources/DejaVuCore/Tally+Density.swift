extension PackedModel {
  /// Bytes of the rows of one axis over all layers.
  package func rowBytes(attention: Bool) -> Int {
    layers.reduce(0) { $0 + (attention ? $1.attentionBytes : $1.bundle.byteCount) }
  }
}

extension Tally {
  /// Share of rows computed, of heads and neurons together, each row counting by its bytes.
  package func density(of model: PackedModel) -> Double {
    let (heads, neurons) = (
      Double(model.rowBytes(attention: true)), Double(model.rowBytes(attention: false))
    )
    return (headDensity * heads + neuronDensity * neurons) / max(heads + neurons, 1)
  }
}
