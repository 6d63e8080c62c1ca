package import DejaVuCore

extension ReferenceBackend {
  /// out[t] = Σ_{n ∈ neurons} a_n · W2[n], where a_n = σ(x[t] · W1[n] + b1[n]),
  /// or σ(x[t] · W_gate[n] + b_gate[n]) · (x[t] · W1[n] + b1[n]) in gated models.
  package func transform(
    layer: Int, neurons: RowChoice<ReferenceRows>, reading x: ReferenceBuffer,
    into out: ReferenceBuffer
  ) {
    for t in batch.tokens.indices {
      if case .ranked(let measure, let rule, let chosen) = neurons {
        let sizes = (0..<architecture.neurons).map {
          size(of: $0, by: measure, layer: layer, x[t])
        }
        chosen.assign(ActiveSet<Neurons>(rule.rows(of: sizes), of: chosen.universe), to: t)
      }
      let chosen = neurons.rows(of: t, universe: architecture.neurons)
      var sum = [Double](repeating: 0, count: architecture.hidden)
      for neuron in chosen {
        let a = activation(of: neuron, layer: layer, x[t])
        model.layers[layer].bundle.down.accumulate(row: neuron, times: Double(a), into: &sum)
      }
      out[t] = sum.map { Float($0) }
      tally.neuronRows += chosen.count
    }
    tally.neuronRowsOfAll += batch.tokens.count * architecture.neurons
  }

  /// |a_n| · ‖W2[n]‖, or the product with the row that decides whether the neuron fires.
  private func size(of neuron: Int, by measure: RowMeasure, layer: Int, _ x: [Float]) -> Float {
    let weights = model.layers[layer]
    switch measure {
    case .contribution:
      let row = weights.bundle.down.row(neuron)
      let squares = row.reduce(0.0) { $0 + Double($1) * Double($1) }
      let a = activation(of: neuron, layer: layer, x)
      return Float(Double(abs(a)) * squares.squareRoot())
    case .product:
      let bias = weights.bundle.gate == nil ? weights.upBias : weights.gateBias
      let row = weights.bundle.gate ?? weights.bundle.up
      return Float(row.dot(row: neuron, x) + (bias.map { Double($0.base[neuron]) } ?? 0))
    }
  }

  private func activation(of neuron: Int, layer: Int, _ x: [Float]) -> Float {
    let weights = model.layers[layer]
    let upBias = weights.upBias.map { Double($0.base[neuron]) } ?? 0
    let up = weights.bundle.up.dot(row: neuron, x) + upBias
    guard let gate = weights.bundle.gate else { return Float(architecture.activation(up)) }
    let gateBias = weights.gateBias.map { Double($0.base[neuron]) } ?? 0
    return Float(architecture.activation(gate.dot(row: neuron, x) + gateBias) * up)
  }
}
