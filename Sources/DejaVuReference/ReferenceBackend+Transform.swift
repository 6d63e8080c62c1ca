package import DejaVuCore

extension ReferenceBackend {
  /// out[t] = Σ_{n ∈ neurons} a_n · W2[n], where a_n = σ(x[t] · W1[n] + b1[n]),
  /// or σ(x[t] · W_gate[n] + b_gate[n]) · (x[t] · W1[n] + b1[n]) in gated models.
  ///
  /// Unless all rows are asked for, neurons whose activation is zero are left out.
  package func transform(
    layer: Int, neurons: RowChoice<ReferenceRows>, reading x: ReferenceBuffer,
    into out: ReferenceBuffer
  ) {
    var readsAll = false
    if case .all = neurons { readsAll = true }
    for t in batch.tokens.indices {
      let chosen = neurons.rows(of: t, universe: architecture.neurons)
      var sum = [Double](repeating: 0, count: architecture.hidden)
      var read = 0
      for neuron in chosen {
        let a = activation(of: neuron, layer: layer, x[t])
        guard readsAll || a != 0, isAbove(neurons, a, neuron: neuron, layer: layer) else {
          continue
        }
        read += 1
        model.layers[layer].bundle.down.accumulate(row: neuron, times: Double(a), into: &sum)
      }
      out[t] = sum.map { Float($0) }
      var counted = chosen.count
      if case .above = neurons { counted = read }
      tally.neuronRows += counted
    }
    tally.neuronRowsOfAll += batch.tokens.count * architecture.neurons
  }

  /// Whether |a| · ‖W2[n]‖ is above an oracle's threshold; other choices have none.
  private func isAbove(
    _ choice: RowChoice<ReferenceRows>, _ a: Float, neuron: Int, layer: Int
  ) -> Bool {
    guard case .above(let least) = choice else { return true }
    let row = model.layers[layer].bundle.down.row(neuron)
    let squares = row.reduce(0.0) { $0 + Double($1) * Double($1) }
    return Float(Double(abs(a)) * squares.squareRoot()) > least
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
