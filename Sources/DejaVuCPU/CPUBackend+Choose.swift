import CDejaVuKernels
package import DejaVuCore

extension CPUBackend {
  package func makeRows(universe: Int, isPrecise: Bool) -> CPURows {
    CPURows(universe: universe, tokens: batchCapacity, isPrecise: isPrecise)
  }

  package func assign(_ indices: [Int32], to rows: CPURows) {
    finishChoice()
    rows.nested = nil
    for t in batch.tokens.indices { rows.assign(indices, to: t) }
  }

  package func assign(each lists: [[Int32]], to rows: CPURows) {
    precondition(
      lists.count == batch.tokens.count, "\(lists.count) lists for \(batch.tokens.count) tokens")
    finishChoice()
    rows.nested = nil
    for (t, list) in lists.enumerated() { rows.assign(list, to: t) }
  }

  package func list(of token: Int, in rows: CPURows) -> [Int32] {
    finishChoice()
    return Array(UnsafeBufferPointer(start: rows.list(of: token), count: rows.count(of: token)))
  }

  package func choose(
    _ weights: ChooserWeights, by rule: ChoiceRule, layer: Int, reading x: CPUBuffer,
    into rows: CPURows
  ) {
    precondition(
      weights.rows == rows.universe, "\(weights.rows) scores for \(rows.universe) rows")
    profiled(.choosers) { makeChoice(weights, by: rule, layer: layer, reading: x, into: rows) }
  }

  private func makeChoice(
    _ weights: ChooserWeights, by rule: ChoiceRule, layer: Int, reading x: CPUBuffer,
    into rows: CPURows
  ) {
    finishChoice()
    let tokens = batch.tokens.count
    let choice = scratch.choice(for: weights, tokens: tokens)
    for t in 0..<tokens {
      normalize(x.row(t), for: weights, layer: layer, into: choice.normed.row(t))
    }
    var input = choice.normed
    var last = weights.first
    if let second = weights.second {
      project(choice.normed, by: weights.first, choice)
      input = choice.hidden
      last = second
    }
    var job = dejavu_choose_job()
    job.kernels = kernels
    job.weights = groupwise(last, bias: weights.bias, gain: weights.gain)
    job.rows = last.rows
    job.x = UnsafePointer(input.base)
    job.x_stride = input.stride
    job.tokens = tokens
    switch rule {
    case .threshold(let threshold): job.threshold = threshold
    case .highest(let count): job.keep = max(count, 1)
    }
    rows.nested = weights.nested == nil ? nil : weights
    job.lists = rows.list(of: 0)
    job.counts = rows.countsBase
    job.scratch = choice.scratch.base
    job.scratch_stride = choice.scratch.stride
    if dejavu_choose_waits(&job) != 0 {
      dejavu_choose_begin(&job)
      scratch.pending = PendingChoice(job: job, rows: rows)
    } else {
      dejavu_choose(team.handle, &job)
    }
    tally.chooser += weights.byteCount
    let elements = [weights.first, weights.second].reduce(0) {
      $0 + ($1.map { $0.rows * $0.columns } ?? 0)
    }
    tally.weightFlops += 2 * tokens * elements
  }

  /// Makes the choice that waits, if one does, for whoever reads lists or scores.
  func finishChoice() {
    guard var pending = scratch.pending else { return }
    scratch.pending = nil
    dejavu_choose_finish(team.handle, &pending.job)
  }

  private func normalize(
    _ x: UnsafeMutablePointer<Float>, for weights: ChooserWeights, layer: Int,
    into out: UnsafeMutablePointer<Float>
  ) {
    let width = architecture.hidden
    switch weights.norm {
    case .plain:
      kernels.pointee.rms_norm(out, x, nil, 1e-6, width, Padding.width(width))
    case .mlp where architecture.blockOrder == .postNorm:
      out.update(from: x, count: width)
    case .mlp:
      normalize(x, by: model.layers[layer].mlpNorm, into: out)
    }
  }

  /// hidden[t] = first · normed[t]: the inner vector of a low-rank predictor.
  private func project(_ x: CPUBuffer, by matrix: GroupwiseMatrix, _ choice: ChoiceScratch) {
    var job = dejavu_groupwise_job()
    job.kernels = kernels
    job.weights = groupwise(matrix, bias: nil, gain: nil)
    job.rows = matrix.rows
    job.x = UnsafePointer(x.base)
    job.x_stride = x.stride
    job.tokens = batch.tokens.count
    job.y = choice.hidden.base
    job.y_stride = choice.hidden.stride
    job.scratch = choice.scratch.base
    job.scratch_stride = choice.scratch.stride
    dejavu_groupwise_project(team.handle, &job)
  }

  private func groupwise(
    _ matrix: GroupwiseMatrix, bias: FloatVector?, gain: FloatVector?
  ) -> dejavu_groupwise {
    dejavu_groupwise(
      rows: matrix.base, stride: matrix.rowBytes, d: matrix.columns, bits: Int32(matrix.bits),
      bias: bias?.base, gain: gain?.base)
  }

  /// The scores of a token's rows in the last choice, `[rows]`: for calibration.
  package func lastScores(token: Int, rows: Int) -> UnsafeBufferPointer<Float> {
    finishChoice()
    return UnsafeBufferPointer(start: scratch.choiceScores(token: token), count: rows)
  }

  /// ‖down row‖ of every neuron of a layer, computed once.
  package func downNorms(layer: Int) -> UnsafePointer<Float> {
    if let norms = scratch.downNorms[layer] { return UnsafePointer(norms.base) }
    let norms = CPUBuffer(capacity: 1, width: architecture.neurons)
    let down = model.layers[layer].bundle.down
    let row = CPUBuffer(capacity: 1, width: down.columns)
    for neuron in 0..<down.rows {
      kernels.widen(neuron, of: down, into: row.base)
      var sum: Float = 0
      for i in 0..<down.columns { sum += row.base[i] * row.base[i] }
      norms.base[neuron] = sum.squareRoot()
    }
    scratch.downNorms[layer] = norms
    return UnsafePointer(norms.base)
  }
}
