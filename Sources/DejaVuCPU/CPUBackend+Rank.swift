import CDejaVuKernels
import DejaVuCore

/// Choosing rows by what has been computed of all of them: oracles, and the search for the nearest
/// rows. Made to be right, not fast.
extension CPUBackend {
  // Neurons, one token ----------------------------------------------------------------------------

  /// Reads all rows that decide the activations, and the down rows of what `rule` chooses.
  ///
  /// The sums are those of the block that is given a list: a rule that every row meets gives the
  /// dense contribution, bit for bit where the activation is ReLU and rows are not so wide that the
  /// block computes several at a time, within float32 rounding elsewhere.
  func transformRanked(
    layer: Int, by measure: RowMeasure, _ rule: ChoiceRule, chosen: CPURows,
    reading x: CPUBuffer, into out: CPUBuffer
  ) {
    let (bundle, count) = (model.layers[layer].bundle, architecture.neurons)
    let (values, sizes) = (scratch.activations.row(0), scratch.ranking.sizes.row(0))
    activateAll(layer: layer, reading: x, products: measure == .product ? sizes : nil)
    if measure == .contribution {
      let norms = downNorms(layer: layer)
      for i in 0..<count { sizes[i] = abs(values[i]) * norms[i] }
    }
    list(sizes, count: count, by: rule, in: chosen, token: 0)
    accumulate(bundle.down, rows: chosen, times: values)
    dejavu_reduce_parts(
      team.handle, kernels, out.base, scratch.accumulators.base, scratch.accumulators.stride,
      scratch.mlpSlices, out.stride)
    _ = tallyDownRows(bundle, slices: scratch.mlpSlices)
    tally.mlpWeights += count * (bundle.rowsPerNeuron - 1) * bundle.matrix.rowBytes
    tally.neuronRows += chosen.count(of: 0)
  }

  /// Every neuron's activation into `scratch.activations`; the products of the rows that decide
  /// them into `products`, where wanted.
  private func activateAll(
    layer: Int, reading x: CPUBuffer, products: UnsafeMutablePointer<Float>?
  ) {
    let (weights, count) = (model.layers[layer], architecture.neurons)
    let values = scratch.activations.row(0)
    project(x, tokens: 1, through: weights.bundle.up, into: scratch.activations)
    if let bias = weights.upBias { for i in 0..<count { values[i] += bias.base[i] } }
    guard let gate = weights.bundle.gate, let gates = scratch.gates else {
      products?.update(from: values, count: count)
      kernels.pointee.activate(values, count, architecture.activation.code)
      return
    }
    project(x, tokens: 1, through: gate, into: gates)
    if let bias = weights.gateBias { for i in 0..<count { gates.base[i] += bias.base[i] } }
    products?.update(from: gates.base, count: count)
    kernels.pointee.activate(gates.base, count, architecture.activation.code)
    for i in 0..<count { values[i] *= gates.base[i] }
  }

  /// acc[s] = Σ values[r] · matrix[r] over the s-th part of the list; rows of zeros are not read, and
  /// scales that rows share are read with each of them.
  private func accumulate(
    _ matrix: RowMatrix, rows: CPURows, times values: UnsafeMutablePointer<Float>
  ) {
    let (slices, count) = (scratch.mlpSlices, rows.count(of: 0))
    nonisolated(unsafe) let (list, values, kernels) = (rows.list(of: 0), values, kernels)
    nonisolated(unsafe) let (acc, read) = (scratch.accumulators, scratch.rowsRead)
    let code = code(of: matrix.format)
    team.run(chunks: slices) { slice in
      let sum = acc.row(slice)
      sum.update(repeating: 0, count: acc.stride)
      read[slice] = dejavu_rows_read()
      for entry in slice * count / slices..<(slice + 1) * count / slices {
        let row = Int(list[entry])
        guard values[row] != 0 else { continue }
        kernels.add(1, rowsOf: matrix, from: row, times: values + row, to: sum, code: code)
        read[slice].down += 1
        read[slice].scales += matrix.scales == nil ? 0 : 1
      }
    }
  }

  // Neurons of a prompt ---------------------------------------------------------------------------

  /// Ranks every token's products, then turns them into activations.
  func rankProducts(_ products: CPUBuffer, for neurons: RowChoice<CPURows>) {
    guard case .ranked(_, let rule, let chosen) = neurons else { return }
    for t in batch.tokens.indices {
      let (row, sizes) = (products.row(t), scratch.ranking.sizes.row(t))
      sizes.update(from: row, count: architecture.neurons)
      list(sizes, count: architecture.neurons, by: rule, in: chosen, token: t)
      kernels.pointee.activate(row, architecture.neurons, architecture.activation.code)
    }
  }

  func rankContributions(
    _ activations: CPUBuffer, layer: Int, for neurons: RowChoice<CPURows>
  ) {
    guard case .ranked(_, let rule, let chosen) = neurons else { return }
    let norms = downNorms(layer: layer)
    for t in batch.tokens.indices {
      let (row, sizes) = (activations.row(t), scratch.ranking.sizes.row(t))
      for i in 0..<architecture.neurons { sizes[i] = abs(row[i]) * norms[i] }
      list(sizes, count: architecture.neurons, by: rule, in: chosen, token: t)
    }
  }

  // Heads -----------------------------------------------------------------------------------------

  /// Ranks the contributions of one token's groups, `[K, D]`, and moves the chosen ones to the front.
  func rankHeads(_ parts: CPUBuffer, for heads: RowChoice<CPURows>) {
    guard case .ranked(let measure, let rule, let chosen) = heads else { return }
    precondition(measure == .contribution, "heads have no \(measure) to be ranked by")
    let sizes = scratch.ranking.sizes.row(0)
    for group in 0..<architecture.kvHeads { sizes[group] = length(of: parts.row(group)) }
    list(sizes, count: architecture.kvHeads, by: rule, in: chosen, token: 0)
    let rows = chosen.list(of: 0)
    for entry in 0..<chosen.count(of: 0) where Int(rows[entry]) != entry {
      parts.row(entry).update(from: parts.row(Int(rows[entry])), count: parts.stride)
    }
  }

  /// Ranks every token's groups by what their contexts will add.
  func rankContexts(layer: Int, for heads: RowChoice<CPURows>) {
    guard case .ranked(let measure, let rule, let chosen) = heads else { return }
    precondition(measure == .contribution, "heads have no \(measure) to be ranked by")
    let (groups, lanes) = (
      architecture.kvHeads, architecture.headsPerGroup * architecture.headWidth
    )
    let output = model.layers[layer].output
    nonisolated(unsafe) let context = scratch.context
    nonisolated(unsafe) let (parts, sizes) = (scratch.ranking.parts, scratch.ranking.sizes)
    nonisolated(unsafe) let backend = self
    team.run(chunks: batch.tokens.count) { t in
      let sum = parts.row(t)
      for group in 0..<groups {
        sum.update(repeating: 0, count: parts.stride)
        backend.kernels.add(
          lanes, rowsOf: output, from: group * lanes, times: context.row(t) + group * lanes,
          to: sum, code: backend.code(of: output.format))
        sizes.row(t)[group] = backend.length(of: sum)
      }
    }
    for t in batch.tokens.indices {
      list(sizes.row(t), count: groups, by: rule, in: chosen, token: t)
    }
  }

  /// ‖x‖ of a vector as wide as the stream.
  private func length(of x: UnsafeMutablePointer<Float>) -> Float {
    (0..<architecture.hidden).reduce(Float(0)) { $0 + x[$1] * x[$1] }.squareRoot()
  }

  /// Lists the rows whose sizes meet the rule.
  private func list(
    _ sizes: UnsafeMutablePointer<Float>, count: Int, by rule: ChoiceRule, in rows: CPURows,
    token: Int
  ) {
    var least = -Float.infinity
    switch rule {
    case .threshold(let threshold): least = threshold
    case .highest(let kept):
      let copy = scratch.ranking.copy.base
      copy.update(from: sizes, count: count)
      least = dejavu_greatest_left_out(copy, count, max(kept, 1))
    }
    let list = rows.list(of: token)
    var chosen = 0
    for row in 0..<count where sizes[row] > least {
      list[chosen] = Int32(row)
      chosen += 1
    }
    rows.setCount(chosen, of: token)
  }
}

extension RowChoice {
  /// What the rows are ranked by once they are computed; nil where they are chosen before.
  var measure: RowMeasure? {
    if case .ranked(let measure, _, _) = self { measure } else { nil }
  }
}

/// Working space of ranked choices.
final class RankingScratch {
  /// `[T, max(F, K)]`, what rows are ranked by.
  let sizes: CPUBuffer
  /// `[max(F, K)]`, reordered to find a threshold.
  let copy: CPUBuffer
  /// `[max(T, K), D]`, contributions of single groups of heads.
  let parts: CPUBuffer

  /// - Parameters:
  ///   - architecture: of the model.
  ///   - tokens: of a batch.
  ///   - sumWidth: floats that a sum of rows takes: D, and twice that where rows share scales.
  init(_ architecture: Architecture, tokens: Int, sumWidth: Int) {
    let widest = max(architecture.neurons, architecture.kvHeads)
    sizes = CPUBuffer(capacity: tokens, width: widest)
    copy = CPUBuffer(capacity: 1, width: widest)
    parts = CPUBuffer(capacity: max(tokens, architecture.kvHeads), width: sumWidth)
  }
}
