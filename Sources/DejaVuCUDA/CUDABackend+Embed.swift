import CDejaVuCUDA
package import DejaVuCore

extension RowMatrix {
  /// The address of the first row on the card.
  var address: dv_address { dv_address(UInt(bitPattern: base)) }
  /// Elements from one row to the next, bytes of rows in codes.
  var elementStride: Int32 { Int32(stride / (format.dtype?.size ?? 1)) }
}

extension Optional where Wrapped == FloatVector {
  /// The address on the card; 0 where there is none.
  var address: dv_address { map { dv_address(UInt(bitPattern: $0.base)) } ?? 0 }
}

extension CUDABackend {
  package func embed(into x: CUDABuffer) {
    let (table, tokens) = (model.tokenEmbedding, batch.tokens.count)
    let target = model.projectIn == nil ? x : scratch.embedding
    launch(
      .embedRows, table.kernelType, embedding(of: table),
      dv_embed_arguments(
        table: table.address, ids: scratch.tokenIds, out: target.row(0),
        table_stride: table.elementStride, out_stride: Int32(target.stride),
        width: Int32(table.columns), offset: 0, adds: 0, unused: 0))
    tally.embedding += tokens * table.rowBytes
    if let projectIn = model.projectIn {
      product(projectIn, from: target, into: x)
      tally.embedding += projectIn.rows * projectIn.rowBytes
      tally.weightFlops += 2 * tokens * projectIn.rows * projectIn.columns
    }
    addPositions(to: x)
    if let norm = model.embeddingNorm { normalizeNow(x, by: described(norm), into: x) }
  }

  /// A block to a token, or a thread to a column where there is one token.
  private func embedding(of table: RowMatrix) -> Grid {
    Grid(batch.tokens.count, isSingle ? (table.columns + 255) / 256 : 1)
  }

  private func addPositions(to x: CUDABuffer) {
    guard case .learned(let offset) = architecture.positions, let table = model.positionEmbedding
    else { return }
    for slice in batch.slices {
      let last = slice.position + slice.count + offset
      precondition(last <= table.rows, "position \(last - 1) of \(table.rows)")
    }
    launch(
      .embedRows, table.kernelType, embedding(of: table),
      dv_embed_arguments(
        table: table.address, ids: scratch.positions(token: 0), out: x.row(0),
        table_stride: table.elementStride, out_stride: Int32(x.stride),
        width: Int32(table.columns), offset: Int32(offset), adds: 1, unused: 0))
    tally.embedding += batch.tokens.count * table.rowBytes
  }

  // Norms -----------------------------------------------------------------------------------------

  /// A single token's norm waits for its reader, which computes it while it reads.
  package func normalize(_ x: CUDABuffer, by site: NormSite, into out: CUDABuffer) {
    let norm =
      switch site {
      case .attention(let layer): model.layers[layer].attentionNorm
      case .mlp(let layer): model.layers[layer].mlpNorm
      }
    if architecture.blockOrder != .postNorm { showStream(x, before: site) }
    guard isSingle, x !== out else { return normalizeNow(x, by: described(norm), into: out) }
    if let pendingNorm, pendingNorm !== out { settle(pendingNorm) }
    out.parts = nil
    settle(x)
    out.isStale = false
    out.deferred = DeferredNorm(source: x, norm: described(norm))
    pendingNorm = out
  }

  /// Where norms come first, what they read is the residual stream at a block's half.
  private func showStream(_ x: CUDABuffer, before site: NormSite) {
    switch site {
    case .attention(let layer): show(x, at: .attentionInput, layer: layer)
    case .mlp(let layer): show(x, at: .mlpInput, layer: layer)
    }
  }

  func described(_ norm: NormWeights) -> dv_norm {
    dv_norm(
      weight: norm.weight.address, bias: norm.bias.address, tiles: 0,
      epsilon: architecture.normalization.epsilon,
      kind: architecture.normalization.kind == .layer ? 1 : 2, tile_width: 0, unused: 0)
  }

  func normalizeNow(_ x: CUDABuffer, by norm: dv_norm, into out: CUDABuffer) {
    willWrite(out)
    normalizeRows(
      x.row(0), by: norm, into: out.row(0), tokens: batch.tokens.count, stride: x.stride,
      rounded: isSingle ? nil : rounding(out, width: architecture.hidden))
  }

  func normalizeRows(
    _ x: dv_address, by norm: dv_norm, into out: dv_address, tokens: Int, stride: Int,
    rounded: Operand? = nil
  ) {
    launch(
      .normalizeRows, Grid(tokens),
      dv_normalize_arguments(
        norm: norm, x: x, out: out, rounded: rounded?.address ?? 0,
        width: Int32(architecture.hidden), stride: Int32(stride),
        rounded_stride: Int32(rounded?.stride ?? 0), is_brain: rounded?.type == .bfloat16 ? 1 : 0))
  }

  /// Computes a norm that was put off.
  func settle(_ buffer: CUDABuffer) {
    precondition(!buffer.isStale, "a norm is read after its stream has changed")
    guard let waiting = buffer.deferred else { return }
    buffer.deferred = nil
    pendingNorm = nil
    normalizeRows(
      waiting.source.row(0), by: waiting.norm, into: buffer.row(0), tokens: 1,
      stride: buffer.stride)
  }

  /// A buffer is about to change: whoever still stands for it is computed first.
  func willWrite(_ buffer: CUDABuffer) {
    if let waiting = pendingNorm, let deferred = waiting.deferred, deferred.source === buffer {
      if deferred.isRead {
        (waiting.deferred, waiting.isStale, pendingNorm) = (nil, true, nil)
      } else {
        settle(waiting)
      }
    }
    if pendingNorm === buffer { pendingNorm = nil }
    if roundedBatch?.owner === buffer { roundedBatch = nil }
    buffer.isStale = false
    buffer.deferred = nil
    buffer.parts = nil
    buffer.tiles = nil
  }

  /// Brings one token's vector into the form that products with `matrix` read: floats, or the
  /// cache's type; choices that wait are made beside it.
  func prepare(_ x: CUDABuffer, matrix: RowMatrix, floats: Bool) {
    let (source, norm) = reading(x)
    roundChoices(
      preparing: preparation(
        source, norm, width: architecture.hidden, matrix: matrix, floats: floats))
  }

  func preparation(
    _ x: dv_address, _ norm: dv_norm, width: Int, matrix: RowMatrix, floats: Bool
  ) -> dv_prepare_job {
    var job = dv_prepare_job()
    (job.norm, job.x, job.width) = (norm, x, Int32(width))
    let to = floats ? scratch.prepared.address : scratch.preparedKept.address
    if matrix.kernelType.isCoded {
      job.planes = to
    } else if floats {
      job.floats = to
    } else {
      job.kept = to
    }
    job.by_eight = matrix.format.dtype?.size == 2 ? 1 : 0
    return job
  }

  /// Where one token's vector lies, and the norm that it is read through.
  func reading(_ buffer: CUDABuffer) -> (x: dv_address, norm: dv_norm) {
    precondition(!buffer.isStale, "a norm is read after its stream has changed")
    if let waiting = buffer.deferred {
      buffer.deferred?.isRead = true
      return (waiting.source.row(0), summed(waiting.norm, of: waiting.source))
    }
    return (buffer.row(0), dv_norm())
  }

  /// A norm with the sums that its stream has of its tiles.
  func summed(_ norm: dv_norm, of stream: CUDABuffer) -> dv_norm {
    var norm = norm
    guard let tiles = stream.tiles else { return norm }
    (norm.tiles, norm.tile_width) = (tiles.address, Int32(tiles.width))
    return norm
  }

  // Sums ------------------------------------------------------------------------------------------

  package func add(_ contribution: CUDABuffer, bias: BiasSite, into x: CUDABuffer) {
    let vector =
      switch bias {
      case .attention(let layer): model.layers[layer].outputBias
      case .mlp(let layer): model.layers[layer].downBias
      }
    let parts =
      contribution.parts ?? (address: contribution.row(0), count: 1, stride: contribution.stride)
    launchWaiting()
    willWrite(x)
    let (width, sums, lists) = (architecture.hidden, scratch.tileSums, listRiders())
    var job = dv_add_arguments()
    (job.x, job.parts, job.bias) = (x.row(0), parts.address, vector.address)
    if isSingle { job.tiles = sums.address }
    (job.width, job.stride) = (Int32(width), Int32(x.stride))
    (job.slices, job.part_stride) = (Int32(parts.count), Int32(parts.stride))
    withUnsafeMutableBytes(of: &job.lists) { bytes in
      lists.withUnsafeBytes { bytes.copyMemory(from: $0) }
    }
    guard isSingle || parts.count > 1 || !lists.isEmpty else {
      return launch(.addRows, Grid((width + 1023) / 1024, batch.tokens.count), job)
    }
    guard isSingle else {
      return launch(.addParts, Grid((width + 127) / 128 + lists.count, batch.tokens.count), job)
    }
    pendingSum = PendingSum(arguments: job, lists: lists.count)
    if renewedColumns == 0 { launchWaiting() }
    tilesOwner?.tiles = nil
    x.tiles = (sums.address, 128)
    tilesOwner = x
  }

  // Logits ----------------------------------------------------------------------------------------

  package func project(_ x: CUDABuffer) {
    show(x, at: .output, layer: architecture.layers - 1)
    guard !batch.wanted.isEmpty else { return }
    settle(x)
    let norm = model.finalNorm.map { described($0) } ?? dv_norm()
    let count = batch.wanted.count
    if isSingle {
      projectOne(x, summed(norm, of: x))
    } else {
      for (index, t) in batch.wanted.enumerated() where !continues(index) {
        let run = runLength(from: index)
        normalizeRows(
          x.row(t), by: norm, into: scratch.wanted.row(index), tokens: run, stride: x.stride)
      }
      var source = scratch.wanted
      if let projectOut = model.projectOut {
        multiply(projectOut, from: source, tokens: count, into: scratch.embedding)
        source = scratch.embedding
      }
      multiply(
        model.head,
        from: operand(source, width: model.head.columns, tokens: count, for: model.head),
        tokens: count, to: scratch.logits, stride: architecture.vocabulary, flag: scratch.flag)
    }
    appendChoice()
    for matrix in [model.projectOut, model.head].compactMap({ $0 }) {
      tally.headWeights += matrix.rows * matrix.rowBytes
      tally.weightFlops += 2 * count * matrix.rows * matrix.columns
    }
  }

  private func projectOne(_ x: CUDABuffer, _ norm: dv_norm) {
    guard let projectOut = model.projectOut else {
      return projectRows(model.head, x.row(0), norm, to: scratch.logits, flag: scratch.flag)
    }
    projectRows(projectOut, x.row(0), norm, to: scratch.embedding.row(0))
    projectRows(
      model.head, scratch.embedding.row(0), dv_norm(), to: scratch.logits, flag: scratch.flag)
  }

  /// Whether a wanted token stands right behind the one before it.
  private func continues(_ index: Int) -> Bool {
    index > 0 && batch.wanted[index - 1] + 1 == batch.wanted[index]
  }

  private func runLength(from index: Int) -> Int {
    var end = index + 1
    while end < batch.wanted.count, continues(end) { end += 1 }
    return end - index
  }

  // Products --------------------------------------------------------------------------------------

  /// out[t, r] = matrix[r] · x[t].
  func product(_ matrix: RowMatrix, from x: CUDABuffer, into out: CUDABuffer) {
    if isSingle {
      projectRows(matrix, x.row(0), dv_norm(), to: out.row(0))
    } else {
      multiply(matrix, from: x, tokens: batch.tokens.count, into: out)
    }
  }

  private func projectRows(
    _ matrix: RowMatrix, _ x: dv_address, _ norm: dv_norm, to y: dv_address, flag: dv_address = 0
  ) {
    roundChoices(
      preparing: preparation(x, norm, width: matrix.columns, matrix: matrix, floats: true))
    let warps = Kernel.projectRows.threads(matrix.kernelType) / 32
    launch(
      .projectRows, matrix.kernelType,
      Grid(geometry.rowBlocks(matrix, rows: matrix.rows, warps: warps)),
      sharedBytes: matrix.vectorBytes,
      dv_rows_arguments(
        x: scratch.prepared.address, matrix: matrix.address, y: y, flag: flag,
        width: Int32(matrix.columns),
        padded_width: Int32(matrix.format.paddedColumns(matrix.columns)),
        row_stride: matrix.elementStride, rows: Int32(matrix.rows)))
  }

  private func multiply(
    _ matrix: RowMatrix, from x: CUDABuffer, tokens: Int, into out: CUDABuffer
  ) {
    multiply(
      matrix, from: operand(x, width: matrix.columns, tokens: tokens, for: matrix), tokens: tokens,
      to: out.row(0), stride: out.stride)
  }
}

extension Activation {
  /// The number that kernels know the function by.
  var kernelCode: Int32 {
    switch self {
    case .relu: 0
    case .gelu: 1
    case .geluTanh: 2
    case .silu: 3
    }
  }
}
