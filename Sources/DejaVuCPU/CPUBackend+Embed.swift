import CDejaVuKernels
package import DejaVuCore

extension CPUBackend {
  package func embed(into x: CPUBuffer) {
    let table = model.tokenEmbedding
    let target = model.projectIn == nil ? x : scratch.embedding
    for (t, token) in batch.tokens.enumerated() {
      precondition(token >= 0 && Int(token) < table.rows, "token \(token) of \(table.rows)")
      kernels.widen(Int(token), of: table, into: target.row(t))
    }
    tally.embedding += batch.tokens.count * table.rowBytes
    if let projectIn = model.projectIn {
      project(scratch.embedding, tokens: batch.tokens.count, through: projectIn, into: x)
      tally.embedding += projectIn.rows * projectIn.rowBytes
      tally.weightFlops += 2 * batch.tokens.count * projectIn.rows * projectIn.columns
    }
    addPositions(to: x)
    if let norm = model.embeddingNorm {
      for t in batch.tokens.indices { normalize(x.row(t), by: norm, into: x.row(t)) }
    }
  }

  private func addPositions(to x: CPUBuffer) {
    guard case .learned(let offset) = architecture.positions, let table = model.positionEmbedding
    else { return }
    let row = scratch.accumulators.row(0)
    for slice in batch.slices {
      for i in 0..<slice.count {
        let position = slice.position + i + offset
        precondition(position < table.rows, "position \(position) of \(table.rows)")
        kernels.widen(position, of: table, into: row)
        kernels.pointee.add(x.row(slice.start + i), row, nil, table.columns)
      }
    }
    tally.embedding += batch.tokens.count * table.rowBytes
  }

  package func normalize(_ x: CPUBuffer, by site: NormSite, into out: CPUBuffer) {
    let norm =
      switch site {
      case .attention(let layer): model.layers[layer].attentionNorm
      case .mlp(let layer): model.layers[layer].mlpNorm
      }
    if architecture.blockOrder != .postNorm { showStream(x, before: site) }
    eachToken { [self] t in normalize(x.row(t), by: norm, into: out.row(t)) }
  }

  /// Where norms come first, what they read is the residual stream at a block's half.
  private func showStream(_ x: CPUBuffer, before site: NormSite) {
    switch site {
    case .attention(let layer): show(x, at: .attentionInput, layer: layer)
    case .mlp(let layer): show(x, at: .mlpInput, layer: layer)
    }
  }

  /// One vector, normalised by the model's kind of norm; lanes past the width become 0.
  package func normalize(
    _ x: UnsafeMutablePointer<Float>, by norm: NormWeights, into out: UnsafeMutablePointer<Float>
  ) {
    let (kind, epsilon) = (architecture.normalization.kind, architecture.normalization.epsilon)
    let width = architecture.hidden
    switch kind {
    case .layer:
      kernels.pointee.layer_norm(
        out, x, norm.weight?.base, norm.bias?.base, epsilon, width, Padding.width(width))
    case .rootMeanSquare:
      kernels.pointee.rms_norm(out, x, norm.weight?.base, epsilon, width, Padding.width(width))
    }
  }

  package func add(_ contribution: CPUBuffer, bias: BiasSite, into x: CPUBuffer) {
    let vector =
      switch bias {
      case .attention(let layer): model.layers[layer].outputBias
      case .mlp(let layer): model.layers[layer].downBias
      }
    // Behind the width, sums of groupwise rows hold what their padding's codes happen to mean.
    let width = architecture.hidden
    eachToken { [kernels] t in
      kernels.pointee.add(x.row(t), contribution.row(t), vector?.base, width)
    }
  }

  /// Runs `body` for every token of the batch, or of a range of them, many tokens on all threads.
  ///
  /// Tokens must not meet in memory.
  func eachToken(of range: Range<Int>? = nil, _ body: (Int) -> Void) {
    let (range, piece) = (range ?? batch.tokens.indices, 16)
    guard range.count > piece else {
      for t in range { body(t) }
      return
    }
    withoutActuallyEscaping(body) { body in
      nonisolated(unsafe) let shared = body
      team.run(chunks: (range.count + piece - 1) / piece) { chunk in
        let first = range.lowerBound + chunk * piece
        for t in first..<min(first + piece, range.upperBound) { shared(t) }
      }
    }
  }

  package func project(_ x: CPUBuffer) {
    show(x, at: .output, layer: architecture.layers - 1)
    let count = batch.wanted.count
    guard count > 0 else { return }
    profiled(.head) { projectWanted(x, count: count) }
  }

  private func projectWanted(_ x: CPUBuffer, count: Int) {
    for (index, t) in batch.wanted.enumerated() {
      let row = scratch.wanted.row(index)
      if let norm = model.finalNorm {
        normalize(x.row(t), by: norm, into: row)
      } else {
        row.update(from: x.row(t), count: x.stride)
      }
    }
    var source = scratch.wanted
    if let projectOut = model.projectOut {
      project(source, tokens: count, through: projectOut, into: scratch.embedding)
      source = scratch.embedding
      tally.headWeights += projectOut.rows * projectOut.rowBytes
      tally.weightFlops += 2 * count * projectOut.rows * projectOut.columns
    }
    project(source, tokens: count, through: model.head, into: scratch.logits)
    tally.headWeights += model.head.rows * model.head.rowBytes
    tally.weightFlops += 2 * count * model.head.rows * model.head.columns
  }

  /// out[t, r] = matrix[r] · x[t]: row kernels for one token, a matrix product for more.
  func project(_ x: CPUBuffer, tokens: Int, through matrix: RowMatrix, into out: CPUBuffer) {
    if tokens == 1 {
      dejavu_project_rows(
        team.handle, kernels, code(of: matrix.format), out.base, out.stride, matrix.base,
        matrix.stride, matrix.rows, x.base, x.stride, 1, matrix.paddedColumns,
        scratch.rounded.base)
    } else {
      pack(x.base, stride: x.stride, tokens: tokens, width: matrix.paddedColumns)
      product(matrix, tokens: tokens, byRows: true, into: out.base, stride: out.stride)
    }
  }

  /// Packs operand A of the products that follow.
  func pack(_ a: UnsafePointer<Float>, stride: Int, tokens: Int, width: Int) {
    dejavu_pack_tokens(
      team.handle, kernels, multipliesInBFloat16 ? 1 : 0, scratch.packed.base, a, stride, tokens,
      width)
  }

  /// Multiplies the packed operand, then adds the bias and activates.
  ///
  /// By rows out[t, r] = a[t] · matrix[r], else out[t, c] = Σ_r a[t, r] · matrix[r, c]. Bias and
  /// activation are applied while a tile of the result is in the cache of the thread that made it.
  func product(
    _ matrix: RowMatrix, tokens: Int, byRows: Bool, into out: UnsafeMutablePointer<Float>,
    stride: Int, bias: FloatVector? = nil, activation: Activation? = nil
  ) {
    precondition(!byRows || matrix.scales == nil, "rows that share scales are only summed")
    let epilogue = dejavu_epilogue(bias: bias?.base, activation: activation?.code ?? -1)
    withUnsafePointer(to: epilogue) { epilogue in
      var job = dejavu_gemm_job(
        packed_a: scratch.packed.base, tokens: tokens,
        k: byRows ? matrix.paddedColumns : matrix.rows, b: matrix.base, b_stride: matrix.stride,
        scales: matrix.scaleRows, by_rows: byRows ? 1 : 0, accumulates: 0, c: out, c_stride: stride,
        epilogue: bias == nil && activation == nil ? nil : epilogue)
      dejavu_product(
        team.handle, kernels, code(of: matrix.format), multipliesInBFloat16 ? 1 : 0, &job,
        byRows ? matrix.rows : matrix.paddedColumns, scratch.panels.base)
    }
  }
}
