import CDejaVuKernels
package import DejaVuCore

extension CPUBackend {
  package func attend(
    layer: Int, heads: RowChoice<CPURows>, reading x: CPUBuffer, into out: CPUBuffer
  ) {
    tally.headRowsOfAll += batch.tokens.count * architecture.kvHeads
    profiled(.attention) {
      if batch.tokens.count == 1, let slice = batch.slices.first(where: { $0.count == 1 }) {
        attendOne(layer: layer, heads: heads, slice: slice, x: x.base, into: out)
      } else {
        attendPrompt(layer: layer, heads: heads, reading: x, into: out)
      }
    }
  }

  // One token ---------------------------------------------------------------------------------

  private func attendOne(
    layer: Int, heads: RowChoice<CPURows>, slice: SequenceSlice<CPUCache>,
    x: UnsafeMutablePointer<Float>, into out: CPUBuffer
  ) {
    let cache = slice.cache
    var (list, count): (UnsafePointer<Int32>?, Int) = (nil, architecture.kvHeads)
    if case .listed(let rows) = heads {
      if scratch.pending?.rows === rows { finishChoice() }
      list = UnsafePointer(rows.list(of: 0))
      count = rows.count(of: 0)
    }
    var job = attentionJob(layer: layer, slice: slice, x: x, list: list, count: count)
    if case .ranked(_, _, let chosen) = heads {
      let parts = scratch.ranking.parts
      (job.acc, job.acc_stride, job.slices) = (parts.base, parts.stride, count)
      dejavu_attention_block(team.handle, &job, team.count)
      rankHeads(parts, for: heads)
      sum(parts, count: chosen.count(of: 0), into: out)
      tally.headRows += chosen.count(of: 0)
    } else {
      if count > 0 { dejavu_attention_block(team.handle, &job, team.count) }
      sum(scratch.accumulators, count: count == 0 ? 0 : job.slices, into: out)
      tally.headRows += count
    }
    tallyAttention(layer: layer, job: job)
    markSettled(cache, layer: layer, job: job)
    profiled(.settling) { settleAll(layer: layer, slice: slice, x: x, job: &job) }
  }

  /// out = Σ_{i < count} parts[i].
  private func sum(_ parts: CPUBuffer, count: Int, into out: CPUBuffer) {
    guard count > 0 else { return out.row(0).update(repeating: 0, count: out.stride) }
    dejavu_reduce_parts(
      team.handle, kernels, out.base, parts.base, parts.stride, count, out.stride)
  }

  private func attentionJob(
    layer: Int, slice: SequenceSlice<CPUCache>, x: UnsafeMutablePointer<Float>,
    list: UnsafePointer<Int32>?, count: Int
  ) -> dejavu_attention_job {
    let (weights, cache) = (model.layers[layer], slice.cache)
    var job = dejavu_attention_job()
    job.kernels = kernels
    job.weight_type = code(of: weights.query.format)
    job.cache_type = cacheLayout.dtype.code
    job.query = weights.query.base
    job.key = weights.key.base
    job.value = weights.value.base
    job.output = weights.output.base
    job.output_scales = weights.output.scaleRows
    job.row_stride = weights.query.stride
    job.query_bias = weights.queryBias?.base
    job.key_bias = weights.keyBias?.base
    job.value_bias = weights.valueBias?.base
    job.d = weights.query.paddedColumns
    job.h = architecture.headWidth
    job.padded_h = cacheLayout.paddedHead
    job.heads_per_group = architecture.headsPerGroup
    job.x = UnsafePointer(x)
    if let kept = cache.kept(layer: layer) {
      let stride = cache.kept?.stride ?? 0
      (kept + slice.position % cache.layout.window * stride).update(from: x, count: stride)
      job.kept = UnsafePointer(kept)
      job.kept_stride = stride
      job.window = cache.layout.window
      job.settled = UnsafePointer(cache.settled(layer: layer))
    }
    job.rounded = UnsafeMutableRawPointer(scratch.rounded.base)
    job.keys = cache.keys(layer: layer)
    job.values = cache.values(layer: layer)
    job.capacity = cache.capacity
    job.position = slice.position
    if let window = architecture.slidingWindow {
      job.first_visible = max(0, slice.position + 1 - window)
    }
    if let rotary {
      job.cosines = UnsafePointer(rotary.cosines.base)
      job.sines = UnsafePointer(rotary.sines.base)
      job.rotary_half = rotary.half
    }
    job.scale = scoreScale
    job.slopes = slopesBase
    job.list = list
    job.count = count
    job.slices = min(count, scratch.attentionSlices)
    job.acc = scratch.accumulators.base
    job.acc_stride = scratch.accumulators.stride
    job.scratch = scratch.groups.base
    job.scratch_stride = scratch.groups.stride
    job.times = profile?.attentionTimes(threads: team.count)
    return job
  }

  /// 1 / √h.
  var scoreScale: Float { 1 / Float(architecture.headWidth).squareRoot() }

  private func markSettled(_ cache: CPUCache, layer: Int, job: dejavu_attention_job) {
    let settled = cache.settled(layer: layer)
    for entry in 0..<job.count {
      settled[job.list.map { Int($0[entry]) } ?? entry] = Int32(job.position + 1)
    }
  }

  /// Pays the layer's debt for all groups once per window, or at once where nothing is kept.
  ///
  /// Layers take turns, so that no single token pays for all.
  private func settleAll(
    layer: Int, slice: SequenceSlice<CPUCache>, x: UnsafeMutablePointer<Float>,
    job: inout dejavu_attention_job
  ) {
    guard job.count < architecture.kvHeads else { return }
    let window = slice.cache.layout.window
    if window > 0 {
      let turn = layer * window / architecture.layers
      guard (slice.position + 1 + turn) % window == 0 else { return }
    }
    let settled = slice.cache.settled(layer: layer)
    var owing = 0
    for group in 0..<architecture.kvHeads where settled[group] <= slice.position {
      scratch.groupList[owing] = Int32(group)
      owing += 1
    }
    job.list = UnsafePointer(scratch.groupList)
    job.count = owing
    dejavu_attention_settle(team.handle, &job)
    tallySettling(layer: layer, job: job)
    markSettled(slice.cache, layer: layer, job: job)
  }

  private func tallyAttention(layer: Int, job: dejavu_attention_job) {
    let weights = model.layers[layer]
    let lanes = architecture.headWidth
    let queries = job.count * architecture.headsPerGroup * lanes
    let seen = job.position + 1 - job.first_visible
    tally.attentionWeights += queries * (weights.query.rowBytes + weights.output.rowBytes)
    tallyOutputScales(weights.output, job: job)
    tally.weightFlops += 2 * 2 * queries * architecture.hidden
    tally.cacheFlops += 2 * 2 * queries * seen
    tally.cache += job.count * 2 * seen * cacheLayout.paddedHead * cacheLayout.dtype.size
    tallySettling(layer: layer, job: job)
  }

  /// The scales that output rows share, read for each head that touches their group.
  private func tallyOutputScales(_ output: RowMatrix, job: dejavu_attention_job) {
    guard let scales = output.scales else { return }
    let (heads, h) = (architecture.headsPerGroup, architecture.headWidth)
    for entry in 0..<job.count {
      let group = job.list.map { Int($0[entry]) } ?? entry
      for head in group * heads..<(group + 1) * heads {
        tally.attentionWeights += scales.count(of: h, from: head * h) * scales.rowBytes
      }
    }
  }

  /// Key and value rows, read once however many positions they settle, and the kept inputs.
  private func tallySettling(layer: Int, job: dejavu_attention_job) {
    let weights = model.layers[layer]
    tally.attentionWeights += job.count * 2 * architecture.headWidth * weights.key.rowBytes
    // Two rows of the matrices for each lane, position and group.
    let flopsOfOne = 2 * 2 * architecture.headWidth * architecture.hidden
    guard let settled = job.settled else {
      tally.weightFlops += job.count * flopsOfOne
      return
    }
    var (oldest, owed) = (job.position, 0)
    for entry in 0..<job.count {
      let from = Int(settled[job.list.map { Int($0[entry]) } ?? entry])
      oldest = min(oldest, from)
      owed += job.position + 1 - from
    }
    tally.weightFlops += owed * flopsOfOne
    tally.keptInputs += max(0, job.position - oldest) * job.kept_stride * 4
  }

  // A prompt ------------------------------------------------------------------------------------

  private func attendPrompt(
    layer: Int, heads: RowChoice<CPURows>, reading x: CPUBuffer, into out: CPUBuffer
  ) {
    let weights = model.layers[layer]
    let tokens = batch.tokens.count
    let projected = scratch.projected
    let lanes = architecture.heads * architecture.headWidth
    let kvLanes = architecture.kvHeads * architecture.headWidth
    if architecture.blockOrder == .postNorm { show(x, at: .attentionInput, layer: layer) }
    pack(x.base, stride: x.stride, tokens: tokens, width: weights.query.paddedColumns)
    var offset = 0
    for (matrix, bias) in [
      (weights.query, weights.queryBias), (weights.key, weights.keyBias),
      (weights.value, weights.valueBias),
    ] {
      product(
        matrix, tokens: tokens, byRows: true, into: projected.base + offset,
        stride: projected.stride, bias: bias)
      offset += matrix.rows
    }
    for slice in batch.slices {
      settleDebts(layer: layer, slice: slice)
      remember(layer: layer, slice: slice, keys: lanes, values: lanes + kvLanes)
      attendSlice(layer: layer, slice: slice)
    }
    show(scratch.context, at: .context, layer: layer)
    rankContexts(layer: layer, for: heads)
    switch heads {
    case .listed(let rows), .ranked(_, _, let rows): maskContext(by: rows)
    case .all, .nonzero: tally.headRows += tokens * architecture.kvHeads
    }
    pack(
      scratch.context.base, stride: scratch.context.stride, tokens: tokens, width: lanes)
    product(weights.output, tokens: tokens, byRows: false, into: out.base, stride: out.stride)
    tally.attentionWeights += weights.attentionBytes
    tally.weightFlops += 2 * tokens * 2 * (lanes + kvLanes) * architecture.hidden
  }

  /// Groups may owe keys from decoding when more prompt arrives.
  private func settleDebts(layer: Int, slice: SequenceSlice<CPUCache>) {
    let cache = slice.cache
    guard cache.layout.window > 0, slice.position > 0 else { return }
    let settled = cache.settled(layer: layer)
    var owing = 0
    for group in 0..<architecture.kvHeads where Int(settled[group]) < slice.position {
      scratch.groupList[owing] = Int32(group)
      owing += 1
    }
    guard owing > 0, let kept = cache.kept(layer: layer) else { return }
    let last = slice.position - 1
    let row = kept + last % cache.layout.window * (cache.kept?.stride ?? 0)
    let before = SequenceSlice(cache: cache, start: 0, count: 1, position: last)
    var job = attentionJob(
      layer: layer, slice: before, x: row, list: UnsafePointer(scratch.groupList), count: owing)
    dejavu_attention_settle(team.handle, &job)
    tallySettling(layer: layer, job: job)
    markSettled(cache, layer: layer, job: job)
  }

  /// Rotates queries and keys at their own positions and stores keys and values.
  private func remember(layer: Int, slice: SequenceSlice<CPUCache>, keys: Int, values: Int) {
    let (h, padded) = (architecture.headWidth, cacheLayout.paddedHead)
    let element = cacheLayout.dtype.size
    let narrow = kernels.rows(cacheLayout.dtype).narrow
    let cache = slice.cache
    eachToken(of: slice.start..<slice.start + slice.count) { t in
      let (row, position) = (scratch.projected.row(t), slice.position + t - slice.start)
      if let rotary {
        let (c, s) = (
          rotary.cosines.base + position * rotary.half, rotary.sines.base + position * rotary.half
        )
        for head in 0..<architecture.heads { dejavu_rotate(row + head * h, c, s, rotary.half) }
        for group in 0..<architecture.kvHeads {
          dejavu_rotate(row + keys + group * h, c, s, rotary.half)
        }
      }
      for group in 0..<architecture.kvHeads {
        let at = (group * cache.capacity + position) * padded * element
        narrow(cache.keys(layer: layer) + at, row + keys + group * h, h)
        narrow(cache.values(layer: layer) + at, row + values + group * h, h)
      }
    }
    let settled = cache.settled(layer: layer)
    for group in 0..<architecture.kvHeads {
      settled[group] = Int32(slice.position + slice.count)
    }
  }

  private func attendSlice(layer: Int, slice: SequenceSlice<CPUCache>) {
    var job = dejavu_prompt_attention_job()
    job.kernels = kernels
    job.cache_type = cacheLayout.dtype.code
    job.h = architecture.headWidth
    job.padded_h = cacheLayout.paddedHead
    job.heads_per_group = architecture.headsPerGroup
    job.groups = architecture.kvHeads
    job.queries = UnsafePointer(scratch.projected.row(slice.start))
    job.q_stride = scratch.projected.stride
    job.tokens = slice.count
    job.first_position = slice.position
    job.capacity = slice.cache.capacity
    job.keys = UnsafeRawPointer(slice.cache.keys(layer: layer))
    job.values = UnsafeRawPointer(slice.cache.values(layer: layer))
    job.sliding_window = architecture.slidingWindow ?? 0
    job.scale = scoreScale
    job.slopes = slopesBase
    job.context = scratch.context.row(slice.start)
    job.context_stride = scratch.context.stride
    job.scratch = scratch.attention.base
    job.scratch_stride = scratch.attention.stride
    attendShown(layer: layer, slice: slice, job: &job)
    let bytes = 2 * (slice.position + slice.count) * cacheLayout.paddedHead * cacheLayout.dtype.size
    tally.cache += architecture.kvHeads * bytes
    let window = architecture.slidingWindow ?? .max
    let pairs = (0..<slice.count).reduce(0) { $0 + min(slice.position + $1 + 1, window) }
    tally.cacheFlops += 2 * 2 * architecture.heads * architecture.headWidth * pairs
  }

  /// Each token keeps the context of its own groups only.
  private func maskContext(by rows: CPURows) {
    let lanes = architecture.headsPerGroup * architecture.headWidth
    for t in batch.tokens.indices {
      let (list, count) = (rows.list(of: t), rows.count(of: t))
      var next = 0
      for group in 0..<architecture.kvHeads {
        if next < count, list[next] == group {
          next += 1
        } else {
          (scratch.context.row(t) + group * lanes).update(repeating: 0, count: lanes)
        }
      }
      tally.headRows += count
    }
  }
}
