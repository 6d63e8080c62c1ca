extension PackedModel {
  /// Bytes of the rows of one axis over all layers.
  package func rowBytes(attention: Bool) -> Int {
    layers.reduce(0) { sum, layer in
      let matrices =
        attention
        ? [layer.query, layer.key, layer.value, layer.output] : [layer.bundle.matrix]
      return sum + matrices.reduce(0) { $0 + $1.rows * $1.rowBytes }
    }
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
