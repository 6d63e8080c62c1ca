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
    raise(
      layer: layer, choice(listed), bits: listed?.bits(for: launchNumber) ?? 0, products: products)
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
    layer: Int, _ neurons: dv_choice, bits: dv_address, products: dv_address
  ) {
    let (weights, matrix) = (model.layers[layer], model.layers[layer].bundle.matrix)
    var job = dv_up_arguments()
    (job.neurons, job.bits, job.x) = (neurons, bits, scratch.prepared.address)
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
    let blocks = geometry.rowBlocks(matrix, rows: architecture.neurons, warps: warps)
    job.entries = Int32((architecture.neurons + 4 * blocks - 1) / (4 * blocks) * 4)
    launch(
      .raiseNeurons, matrix.kernelType, Grid(blocks),
      sharedBytes: matrix.vectorBytes + 4 * Int(job.entries), job)
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
    let isShown = observer?.wants(.activations, layer: layer) ?? false
    let input = operand(x, width: architecture.hidden, tokens: tokens, for: weights.bundle.up)
    // A full list must leave the bits of the whole: it goes the same way.
    if !neurons.isRanked, !isShown,
      let lanes = raiseRounded(layer: layer, from: input, tokens: tokens)
    {
      if case .listed(let rows) = neurons {
        maskNeurons(layer: layer, Masked(lanes), by: rows)
      } else {
        tally.neuronRows += tokens * architecture.neurons
      }
      return sumPrompt(layer: layer, lanes, into: out)
    }
    let isRanked = if case .ranked(.product, _, _) = neurons { true } else { false }
    // Products are ranked before the activation bends them.
    let bendsFirst = weights.bundle.gate == nil && !isRanked
    raisePrompt(layer: layer, from: input, activation: bendsFirst ? architecture.activation : nil)
    if case .ranked(.product, let rule, let chosen) = neurons {
      reserve(chosen)
      let products = weights.bundle.gate == nil ? values : gates
      select(products.row(0), stride: products.stride, by: rule, into: chosen)
    }
    // Where nobody looks at them, gates meet their products while these are rounded.
    let meetsLater =
      !isShown && weights.bundle.gate != nil && neurons.isWhole && rounds(weights.bundle.down)
    if !bendsFirst && !meetsLater {
      launch(
        .activateRows, Grid(tokens),
        dv_activate_arguments(
          values: values.row(0), gates: weights.bundle.gate == nil ? 0 : gates.row(0),
          stride: Int32(values.stride), width: Int32(architecture.neurons),
          activation: architecture.activation.kernelCode, unused: 0))
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
      maskNeurons(layer: layer, Masked(values), by: rows)
    }
    let lanes = operand(
      values, width: architecture.neurons, tokens: tokens, for: weights.bundle.down,
      gates: meetsLater ? gates : nil, activation: meetsLater ? architecture.activation : nil)
    sumPrompt(layer: layer, lanes, into: out)
  }

  /// Sums down rows of a batch.
  private func sumPrompt(layer: Int, _ lanes: Operand, into out: CUDABuffer) {
    let (weights, tokens) = (model.layers[layer], batch.tokens.count)
    multiplyTransposed(weights.bundle.down, from: lanes, into: out)
    tally.mlpWeights += weights.bundle.matrix.rows * weights.bundle.matrix.rowBytes
    tally.weightFlops += 2 * tokens * weights.bundle.matrix.rows * architecture.hidden
    // The card works on this layer while the host comes to the next.
    flush()
  }

  /// Products of a batch with up and gate rows, `activation` applied to those of up rows.
  private func raisePrompt(layer: Int, from input: Operand, activation: Activation?) {
    let (weights, tokens) = (model.layers[layer], batch.tokens.count)
    let (values, gates) = (scratch.activations, scratch.gates)
    multiply(
      weights.bundle.up, from: input, tokens: tokens, to: values.row(0), stride: values.stride,
      bias: weights.upBias, activation: activation)
    guard let gate = weights.bundle.gate else { return }
    multiply(
      gate, from: input, tokens: tokens, to: gates.row(0), stride: gates.stride,
      bias: weights.gateBias)
  }

  private func maskNeurons(layer: Int, _ values: Masked, by rows: CUDARows) {
    mask(values, by: rows, lanes: 1, counter: scratch.counters(layer: layer) + 16)
    notes.append(.neuronRows(layer: layer))
  }

  /// Each token keeps the lanes of its own rows only.
  func mask(_ values: Masked, by rows: CUDARows, lanes: Int, counter: dv_address) {
    launch(
      .maskRows, Grid(batch.tokens.count),
      dv_mask_arguments(
        rows: rows.choice(for: launchNumber), values: values.address, counter: counter,
        stride: Int32(values.stride), lanes: Int32(lanes), is_short: values.isShort ? 1 : 0,
        unused: 0))
  }
}

/// A batch's values of which some are left out.
struct Masked {
  let address: dv_address
  let stride: Int
  /// Whether they have 16 bits.
  let isShort: Bool

  init(_ values: CUDABuffer) {
    (address, stride, isShort) = (values.row(0), values.stride, false)
  }

  init(_ values: Operand) {
    (address, stride, isShort) = (values.address, values.stride, values.type != .float32)
  }
}

extension RowChoice {
  /// Whether rows are chosen by what is computed of them.
  fileprivate var isRanked: Bool {
    if case .ranked = self { true } else { false }
  }

  /// Whether every row is computed and nobody looks at the results in between.
  var isWhole: Bool {
    switch self {
    case .all, .nonzero: true
    case .listed, .ranked: false
    }
  }
}
