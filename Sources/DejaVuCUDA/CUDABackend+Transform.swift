import CDejaVuCUDA
package import DejaVuCore

extension CUDABackend {
  package func transform(
    layer: Int, neurons: RowChoice<CUDARows>, reading x: CUDABuffer, into out: CUDABuffer
  ) {
    tally.neuronRowsOfAll += batch.tokens.count * architecture.neurons
    if isSingle {
      transformOne(layer: layer, neurons: neurons, x: x, into: out)
    } else {
      makeChoices()
      settle(x)
      transformPrompt(layer: layer, neurons: neurons, x: x, into: out)
    }
  }

  // One token -------------------------------------------------------------------------------------

  private func transformOne(
    layer: Int, neurons: RowChoice<CUDARows>, x: CUDABuffer, into out: CUDABuffer
  ) {
    var (listed, skips): (CUDARows?, Int32) = (nil, 1)
    var (products, ranked): (dv_address, CUDARows?) = (0, nil)
    switch neurons {
    case .all: skips = 0
    case .nonzero: break
    case .listed(let rows): (listed, skips) = (rows, rows.isPrecise ? 2 : 1)
    case .ranked(let measure, _, let chosen):
      ranked = chosen
      if measure == .product { products = scratch.scores.row(0) }
    }
    let choice = { [self] (rows: CUDARows?) in
      rows.map { self.listed($0) } ?? allRows(architecture.neurons)
    }
    prepare(x, matrix: model.layers[layer].bundle.matrix, floats: true)
    raise(layer: layer, choice(listed), products: products)
    if case .ranked(let measure, let rule, let chosen) = neurons {
      reserve(chosen)
      if measure == .contribution { sizeNeurons(layer: layer, scratch.activations) }
      select(scratch.scores.row(0), stride: scratch.scores.stride, by: rule, into: chosen)
    }
    let matrix = model.layers[layer].bundle.matrix
    launch(
      .sumNeurons, matrix.kernelType, Grid(geometry.tiles(matrix), geometry.neuronSlices(matrix)),
      sharedBytes: matrix.segmentBytes,
      dv_down_arguments(
        neurons: choice(listed ?? ranked), values: scratch.activations.row(0),
        bundle: matrix.address, out: scratch.sums.row(0),
        padded_width: Int32(matrix.format.paddedColumns(matrix.columns)),
        row_stride: matrix.elementStride, rows_per_neuron: Int32(architecture.rowsPerNeuron),
        out_stride: Int32(scratch.sums.stride), skips: skips,
        values_by_row: ranked == nil ? 0 : 1))
    out.parts = (scratch.sums.row(0), geometry.neuronSlices(matrix), scratch.sums.stride)
    notes.append(.neurons(layer: layer, skips: skips == 1, ranked: ranked))
  }

  private func raise(
    layer: Int, _ neurons: dv_choice, products: dv_address
  ) {
    let (weights, matrix) = (model.layers[layer], model.layers[layer].bundle.matrix)
    var job = dv_up_arguments()
    (job.neurons, job.x) = (neurons, scratch.prepared.address)
    job.bundle = matrix.address
    (job.up_bias, job.gate_bias) = (weights.upBias.address, weights.gateBias.address)
    (job.values, job.products) = (scratch.activations.row(0), products)
    job.counters = scratch.counters(layer: layer) + 16
    job.width = Int32(architecture.hidden)
    job.padded_width = Int32(matrix.format.paddedColumns(matrix.columns))
    job.row_stride = matrix.elementStride
    job.rows_per_neuron = Int32(architecture.rowsPerNeuron)
    job.activation = architecture.activation.kernelCode
    let warps = Kernel.raiseNeurons.threads(matrix.kernelType) / 32
    launch(
      .raiseNeurons, matrix.kernelType,
      Grid(geometry.rowBlocks(matrix, rows: architecture.neurons, warps: warps)),
      sharedBytes: matrix.vectorBytes, job)
  }

  /// scores[t, n] = |values[t, n]| · ‖down[n]‖.
  private func sizeNeurons(layer: Int, _ values: CUDABuffer) {
    let matrix = model.layers[layer].bundle.matrix
    launch(
      .sizeNeurons, matrix.kernelType, Grid((architecture.neurons + 7) / 8, batch.tokens.count),
      dv_neuron_size_arguments(
        values: values.row(0), bundle: matrix.address, sizes: scratch.scores.row(0),
        neurons: Int32(architecture.neurons), width: Int32(matrix.columns),
        row_stride: matrix.elementStride, rows_per_neuron: Int32(architecture.rowsPerNeuron),
        value_stride: Int32(values.stride), size_stride: Int32(scratch.scores.stride)))
  }

  // A prompt --------------------------------------------------------------------------------------

  private func transformPrompt(
    layer: Int, neurons: RowChoice<CUDARows>, x: CUDABuffer, into out: CUDABuffer
  ) {
    let (weights, tokens) = (model.layers[layer], batch.tokens.count)
    let (values, gates) = (scratch.activations, scratch.gates)
    if architecture.blockOrder == .postNorm { show(x, at: .mlpInput, layer: layer) }
    var measure: RowMeasure?
    if case .ranked(let wanted, _, _) = neurons { measure = wanted }
    // Products are ranked before the activation bends them.
    let isBent = weights.bundle.gate == nil && measure != .product
    multiply(
      weights.bundle.up, from: x, tokens: tokens, to: values.row(0), stride: values.stride,
      bias: weights.upBias, activation: isBent ? architecture.activation : nil)
    if let gate = weights.bundle.gate {
      multiply(
        gate, from: x, tokens: tokens, to: gates.row(0), stride: gates.stride,
        bias: weights.gateBias)
    }
    if case .ranked(.product, let rule, let chosen) = neurons {
      reserve(chosen)
      let products = weights.bundle.gate == nil ? values : gates
      select(products.row(0), stride: products.stride, by: rule, into: chosen)
    }
    if !isBent {
      launch(
        .activateRows, Grid(tokens),
        dv_activate_arguments(
          values: values.row(0), gates: weights.bundle.gate == nil ? 0 : gates.row(0),
          stride: Int32(values.stride), width: Int32(architecture.neurons),
          activation: architecture.activation.kernelCode))
    }
    show(values, at: .activations, layer: layer)
    if case .ranked(.contribution, let rule, let chosen) = neurons {
      reserve(chosen)
      sizeNeurons(layer: layer, values)
      select(scratch.scores.row(0), stride: scratch.scores.stride, by: rule, into: chosen)
    }
    switch neurons {
    case .all, .nonzero: tally.neuronRows += tokens * architecture.neurons
    case .listed(let rows), .ranked(_, _, let rows):
      mask(values, by: rows, lanes: 1, counter: scratch.counters(layer: layer) + 16)
      notes.append(.neuronRows(layer: layer))
    }
    multiplyTransposed(weights.bundle.down, from: values, into: out)
    tally.mlpWeights += weights.bundle.matrix.rows * weights.bundle.matrix.rowBytes
    tally.weightFlops += 2 * tokens * weights.bundle.matrix.rows * architecture.hidden
  }

  /// Each token keeps the lanes of its own rows only.
  func mask(_ values: CUDABuffer, by rows: CUDARows, lanes: Int, counter: dv_address) {
    launch(
      .maskRows, Grid(batch.tokens.count),
      dv_mask_arguments(
        rows: rows.choice(for: launchNumber), values: values.row(0), counter: counter,
        stride: Int32(values.stride),
        lanes: Int32(lanes)))
  }
}
