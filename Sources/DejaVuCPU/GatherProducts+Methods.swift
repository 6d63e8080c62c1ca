import CDejaVuKernels
import DejaVuCore

extension GatherProducts {
  // Rows ----------------------------------------------------------------------------------------

  /// The engine's block over a bundle: every neuron as one stream, or those of a list.
  func block(
    _ bundle: UnsafeRawPointer, _ list: UnsafeBufferPointer<Int32>?, count: Int, bias: CPUBuffer
  ) {
    let skips: Int32 = list == nil ? 0 : 1
    var job = dejavu_mlp_job(
      bundle: bundle, row_stride: hidden * dtype.size, d: hidden, x: x.base, up_bias: bias.base,
      gate_bias: nil, list: list?.baseAddress, gated: 0, activation: Activation.relu.code,
      skips: skips, threshold: 0, down_norms: nil, scattered: skips, prefetches_down: 0,
      nested: nil)
    dejavu_mlp_block(
      team.handle, kernels, dtype.code, &job, count, slices, accumulators.base,
      accumulators.stride, rowsRead, nil)
    dejavu_reduce_parts(
      team.handle, kernels, out.base, accumulators.base, accumulators.stride, slices, out.stride)
  }

  func copyRows(layer: Int, _ list: UnsafeBufferPointer<Int32>) {
    guard let rows = list.baseAddress else { return out.base.update(repeating: 0, count: hidden) }
    let bytes = 2 * hidden * dtype.size
    dejavu_gather_rows(
      team.handle, memory.copy, bytes, memory.bundle(layer), bytes, rows, list.count, bytes)
    for (at, neuron) in list.enumerated() { chosenBias.base[at] = bias.base[Int(neuron)] }
    block(memory.copy, nil, count: list.count, bias: chosenBias)
  }

  // Columns ---------------------------------------------------------------------------------------

  func multiplyAll(layer: Int) {
    project(memory.up(layer), rows: neurons, by: x.base, width: hidden, into: activations.base)
    for i in 0..<neurons { activations.base[i] += bias.base[i] }
    kernels.pointee.activate(activations.base, neurons, Activation.relu.code)
    project(
      memory.down(layer), rows: hidden, by: activations.base, width: neurons, into: out.base)
  }

  /// W1's rows where they lie, then W2 either picked in the cache or read whole.
  func multiplyInPlace(layer: Int, _ list: UnsafeBufferPointer<Int32>, picks: Bool) {
    guard let rows = list.baseAddress else { return out.base.update(repeating: 0, count: hidden) }
    dejavu_gathered_dots(
      team.handle, kernels, dtype.code, chosenBias.base, memory.up(layer), hidden * dtype.size,
      rows, list.count, x.base, hidden)
    activations.base.update(repeating: 0, count: picks ? padded(list.count) : neurons)
    for (at, neuron) in list.enumerated() {
      let sum = chosenBias.base[at] + bias.base[Int(neuron)]
      activations.base[picks ? at : Int(neuron)] = max(sum, 0)
    }
    if picks {
      dejavu_gathered_columns_product(
        team.handle, kernels, dtype.code, out.base, memory.down(layer), neurons * dtype.size,
        hidden, rows, list.count, activations.base, padded(list.count), picked.base)
    } else {
      project(
        memory.down(layer), rows: hidden, by: activations.base, width: neurons, into: out.base)
    }
  }

  func copyColumns(layer: Int, _ list: UnsafeBufferPointer<Int32>) {
    guard let rows = list.baseAddress else { return out.base.update(repeating: 0, count: hidden) }
    let (bytes, width) = (hidden * dtype.size, padded(list.count))
    dejavu_gather_rows(
      team.handle, memory.copy, bytes, memory.up(layer), bytes, rows, list.count, bytes)
    project(memory.copy, rows: list.count, by: x.base, width: hidden, into: chosenBias.base)
    activations.base.update(repeating: 0, count: width)
    for (at, neuron) in list.enumerated() {
      activations.base[at] = max(chosenBias.base[at] + bias.base[Int(neuron)], 0)
    }
    let columns = memory.copy + list.count * bytes
    let stride = width * dtype.size
    dejavu_gather_columns(
      team.handle, columns, stride, memory.down(layer), neurons * dtype.size, hidden, rows,
      list.count, width, dtype.size)
    project(columns, rows: hidden, by: activations.base, width: width, into: out.base)
  }

  private func padded(_ count: Int) -> Int { Padding.width(count) }

  /// out[r] = matrix[r] · vector: the engine's dense product, or for rows wider than its own the same
  /// kernel in blocks, which is faster.
  private func project(
    _ matrix: UnsafeRawPointer, rows: Int, by vector: UnsafePointer<Float>, width: Int,
    into out: UnsafeMutablePointer<Float>
  ) {
    if width > 4096 {
      dejavu_wide_product(
        team.handle, kernels, dtype.code, out, matrix, width * dtype.size, rows, vector, width)
      return
    }
    dejavu_project_rows(
      team.handle, kernels, dtype.code, out, rows, matrix, width * dtype.size, rows, vector, width,
      1, width, nil)
  }

  // Traffic ---------------------------------------------------------------------------------------

  /// Bytes of weights that a way reads, and writes to read them again; whole cache lines.
  package func traffic(
    _ variant: Variant, list: UnsafeBufferPointer<Int32>
  ) -> (read: Int, written: Int) {
    let row = hidden * dtype.size
    let chosen = list.count * row
    switch (variant.layout, variant.method) {
    case (_, .dense): return (2 * neurons * row, 0)
    case (.rows, .fused): return (2 * chosen, 0)
    case (.rows, _): return (4 * chosen, 2 * chosen)
    case (.columns, .fused): return (chosen + columnBytes(list), 0)
    case (.columns, .streamed): return (chosen + neurons * row, 0)
    case (.columns, .copied):
      let columns = hidden * padded(list.count) * dtype.size
      return (2 * chosen + columnBytes(list) + columns, chosen + columns)
    }
  }

  /// Cache lines of W2 `[D, F]` in which the chosen columns lie.
  private func columnBytes(_ list: UnsafeBufferPointer<Int32>) -> Int {
    let perLine = 64 / dtype.size
    var (lines, last) = (0, -1)
    for neuron in list where Int(neuron) / perLine != last {
      last = Int(neuron) / perLine
      lines += 1
    }
    return lines * 64 * hidden
  }
}
