import CDejaVuKernels
package import DejaVuCore

extension CPUBackend {
  package func transform(
    layer: Int, neurons: RowChoice<CPURows>, reading x: CPUBuffer, into out: CPUBuffer
  ) {
    tally.neuronRowsOfAll += batch.tokens.count * architecture.neurons
    profiled(.mlp) {
      if batch.tokens.count == 1, case .ranked(let measure, let rule, let chosen) = neurons {
        transformRanked(
          layer: layer, by: measure, rule, chosen: chosen, reading: x, into: out)
      } else if batch.tokens.count == 1 {
        transformOne(layer: layer, neurons: neurons, x: x.base, into: out)
      } else {
        transformPrompt(layer: layer, neurons: neurons, reading: x, into: out)
      }
    }
  }

  private func transformOne(
    layer: Int, neurons: RowChoice<CPURows>, x: UnsafeMutablePointer<Float>, into out: CPUBuffer
  ) {
    let weights = model.layers[layer]
    var (list, count): (UnsafePointer<Int32>?, Int) = (nil, architecture.neurons)
    var skips: Int32 = 1
    var prefetchesDown: Int32 = 0
    var nested: ChooserWeights?
    switch neurons {
    case .all: skips = 0
    case .nonzero: break
    case .listed(let rows), .ranked(_, _, let rows):
      list = UnsafePointer(rows.list(of: 0))
      count = rows.count(of: 0)
      prefetchesDown = rows.isPrecise ? 1 : 0
      nested = rows.nested
    }
    var job = dejavu_mlp_job(
      bundle: weights.bundle.matrix.base, row_stride: weights.bundle.matrix.stride,
      d: weights.bundle.matrix.paddedColumns, x: x, up_bias: weights.upBias?.base,
      gate_bias: weights.gateBias?.base, list: list, gated: architecture.isGated ? 1 : 0,
      activation: architecture.activation.code, skips: skips, threshold: 0, down_norms: nil,
      scattered: skips, prefetches_down: prefetchesDown,
      down_scales: weights.bundle.down.scaleRows, nested: nil)
    if let nested { part(&job, nested, x: x) }
    let slices = scratch.mlpSlices
    if var choice = pendingChoice(of: neurons) {
      dejavu_chosen_mlp_block(
        team.handle, code(of: weights.bundle.matrix.format), &choice, &job, slices,
        scratch.accumulators.base, scratch.accumulators.stride, scratch.rowsRead,
        scratch.rounded.base)
      count = choice.counts?[0] ?? 0
    } else {
      dejavu_mlp_block(
        team.handle, kernels, code(of: weights.bundle.matrix.format), &job, count, slices,
        scratch.accumulators.base, scratch.accumulators.stride, scratch.rowsRead,
        scratch.rounded.base)
    }
    dejavu_reduce_parts(
      team.handle, kernels, out.base, scratch.accumulators.base, scratch.accumulators.stride,
      slices, out.stride)
    let up = count * (weights.bundle.rowsPerNeuron - 1)
    let down = tallyDownRows(weights.bundle, slices: slices)
    tally.mlpWeights += up * weights.bundle.matrix.rowBytes
    if let rest = nested?.nested {
      tally.mlpWeights -= count * (weights.bundle.matrix.rowBytes - rest.lowBytes)
    }
    tally.weightFlops += 2 * (up + down) * architecture.hidden
    tally.neuronRows += count
  }

  /// Counts the bytes of the down rows, and of the scales they share, that the parts of a block read.
  ///
  /// - Returns: down rows.
  func tallyDownRows(_ bundle: NeuronBundle, slices: Int) -> Int {
    var (down, scales) = (0, 0)
    for slice in 0..<slices {
      down += scratch.rowsRead[slice].down
      scales += scratch.rowsRead[slice].scales
    }
    tally.mlpWeights +=
      down * bundle.down.rowBytes + scales * (bundle.downScales?.rowBytes ?? 0)
    return down
  }

  /// Reads the neurons' first rows in halves, of which the chooser has read one.
  private func part(
    _ job: inout dejavu_mlp_job, _ chooser: ChooserWeights, x: UnsafeMutablePointer<Float>
  ) {
    guard let rest = chooser.nested else { return }
    let room = scratch.nestedRoom(columns: chooser.first.columns)
    room.job.pointee.high = chooser.first.base
    room.job.pointee.high_stride = chooser.first.rowBytes
    room.job.pointee.low_bytes = rest.lowBytes
    room.job.pointee.d = chooser.first.columns
    room.job.pointee.bits = Int32(chooser.first.bits)
    room.input.base.update(from: x, count: architecture.hidden)
    kernels.pointee.coded_round(
      room.rounded.base, room.input.base, chooser.first.columns, chooser.first.format.code)
    room.job.pointee.rounded = UnsafeRawPointer(room.rounded.base)
    job.bundle = rest.base
    job.nested = UnsafePointer(room.job)
  }

  /// Takes the choice that waits, where it is that of these neurons.
  private func pendingChoice(of neurons: RowChoice<CPURows>) -> dejavu_choose_job? {
    guard case .listed(let rows) = neurons, let pending = scratch.pending, pending.rows === rows
    else {
      finishChoice()
      return nil
    }
    scratch.pending = nil
    return pending.job
  }

  private func transformPrompt(
    layer: Int, neurons: RowChoice<CPURows>, reading x: CPUBuffer, into out: CPUBuffer
  ) {
    let (weights, tokens) = (model.layers[layer], batch.tokens.count)
    let activations = scratch.activations
    if architecture.blockOrder == .postNorm { show(x, at: .mlpInput, layer: layer) }
    pack(x.base, stride: x.stride, tokens: tokens, width: weights.bundle.matrix.paddedColumns)
    let activation = architecture.activation
    // Products are ranked before the activation bends them.
    let fused = neurons.measure == .product ? nil : activation
    if let gate = weights.bundle.gate, let gates = scratch.gates {
      project(weights.bundle.up, bias: weights.upBias, nil, into: activations)
      project(gate, bias: weights.gateBias, fused, into: gates)
      if fused == nil { rankProducts(gates, for: neurons) }
      multiply(activations, by: gates)
    } else {
      project(weights.bundle.up, bias: weights.upBias, fused, into: activations)
      if fused == nil { rankProducts(activations, for: neurons) }
    }
    show(activations, at: .activations, layer: layer)
    if neurons.measure == .contribution {
      rankContributions(activations, layer: layer, for: neurons)
    }
    switch neurons {
    case .listed(let rows), .ranked(_, _, let rows): mask(activations, by: rows)
    case .all, .nonzero: tally.neuronRows += tokens * architecture.neurons
    }
    pack(activations.base, stride: activations.stride, tokens: tokens, width: architecture.neurons)
    product(weights.bundle.down, tokens: tokens, byRows: false, into: out.base, stride: out.stride)
    tally.mlpWeights += weights.bundle.byteCount
    tally.weightFlops += 2 * tokens * weights.bundle.matrix.rows * architecture.hidden
  }

  private func project(
    _ matrix: RowMatrix, bias: FloatVector?, _ activation: Activation?, into out: CPUBuffer
  ) {
    product(
      matrix, tokens: batch.tokens.count, byRows: true, into: out.base, stride: out.stride,
      bias: bias, activation: activation)
  }

  private func multiply(_ buffer: CPUBuffer, by gates: CPUBuffer) {
    for t in batch.tokens.indices {
      let (row, gate) = (buffer.row(t), gates.row(t))
      for i in 0..<architecture.neurons { row[i] *= gate[i] }
    }
  }

  /// Each token keeps the activations of its own neurons only.
  private func mask(_ activations: CPUBuffer, by rows: CPURows) {
    for t in batch.tokens.indices {
      let (row, list, count) = (activations.row(t), rows.list(of: t), rows.count(of: t))
      var next = 0
      for neuron in 0..<architecture.neurons {
        if next < count, list[next] == neuron { next += 1 } else { row[neuron] = 0 }
      }
      tally.neuronRows += count
    }
  }
}
