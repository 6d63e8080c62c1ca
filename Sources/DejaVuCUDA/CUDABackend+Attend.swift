import CDejaVuCUDA
package import DejaVuCore

extension CUDABackend {
  package func attend(
    layer: Int, heads: RowChoice<CUDARows>, reading x: CUDABuffer, into out: CUDABuffer
  ) {
    tally.headRowsOfAll += batch.tokens.count * architecture.kvHeads
    if isSingle, let slice = batch.slices.first(where: { $0.count == 1 }) {
      attendOne(layer: layer, heads: heads, slice: slice, x: x, into: out)
    } else {
      makeChoices()
      settle(x)
      attendPrompt(layer: layer, heads: heads, x: x, into: out)
    }
  }

  /// All groups, or those of a list.
  private func choice(_ heads: RowChoice<CUDARows>) -> dv_choice {
    if case .listed(let rows) = heads { return listed(rows) }
    return allRows(architecture.kvHeads)
  }

  func allRows(_ count: Int) -> dv_choice {
    dv_choice(count: 0, list: 0, all: Int32(count), stride: 0, early: 0, unused: 0)
  }

  // One token -------------------------------------------------------------------------------------

  private func attendOne(
    layer: Int, heads: RowChoice<CUDARows>, slice: SequenceSlice<CUDACache>, x: CUDABuffer,
    into out: CUDABuffer
  ) {
    prepare(x, matrix: model.layers[layer].query, floats: false)
    projectHeads(layer: layer, groups: choice(heads), slice: slice, settlesOnly: false)
    attendCache(layer: layer, groups: choice(heads), slice: slice)
    if case .ranked(let measure, let rule, let chosen) = heads {
      precondition(measure == .contribution, "heads have no \(measure) to be ranked by")
      launch(
        .mergeContext, Grid((architecture.heads * architecture.headWidth + 255) / 256),
        merging(slice))
      rankGroups(layer: layer, by: rule, into: chosen)
      sumHeads(layer: layer, groups: chosen.choice(for: launchNumber), slice: slice)
    } else {
      sumHeads(layer: layer, groups: choice(heads), slice: slice)
    }
    let slices = geometry.headSlices(model.layers[layer].output).all
    out.parts = (scratch.sums.row(0), slices, scratch.sums.stride)
    let seen = min(slice.position + 1, architecture.slidingWindow ?? .max)
    var ranked: CUDARows?
    if case .ranked(_, _, let chosen) = heads { ranked = chosen }
    notes.append(.heads(layer: layer, seen: seen, ranked: ranked))
  }

  private func projectHeads(
    layer: Int, groups: dv_choice, slice: SequenceSlice<CUDACache>, settlesOnly: Bool
  ) {
    let (weights, cache, a) = (model.layers[layer], slice.cache, architecture)
    var job = dv_project_arguments()
    job.groups = groups
    job.x = settlesOnly ? 0 : scratch.preparedKept.address
    job.positions = scratch.positions(token: slice.start)
    (job.query, job.key, job.value) = (
      weights.query.address, weights.key.address, weights.value.address
    )
    job.query_bias = weights.queryBias.address
    job.key_bias = weights.keyBias.address
    job.value_bias = weights.valueBias.address
    job.queries = scratch.projected.row(0)
    (job.keys, job.values) = (cache.keys(layer: layer), cache.values(layer: layer))
    (job.kept, job.settled) = (cache.kept(layer: layer), cache.settled(layer: layer))
    (job.cosines, job.sines) = (scratch.cosines?.address ?? 0, scratch.sines?.address ?? 0)
    job.counters = scratch.counters(layer: layer)
    job.width = Int32(a.hidden)
    job.padded_width = Int32(weights.query.format.paddedColumns(a.hidden))
    job.row_stride = weights.query.elementStride
    (job.head, job.padded_head) = (Int32(a.headWidth), Int32(cacheLayout.paddedHead))
    (job.heads_per_group, job.group_count) = (Int32(a.headsPerGroup), Int32(a.kvHeads))
    (job.capacity, job.window) = (Int32(cache.capacity), Int32(cache.window))
    job.kept_stride = Int32(cacheLayout.keptStride)
    (job.turn, job.rotary_half) = (turn(layer, cache), rotaryHalf)
    job.settles_only = settlesOnly ? 1 : 0
    let pairs = (a.heads + 2 * a.kvHeads) * ((a.headWidth + 1) / 2)
    let lists = 8 * a.kvHeads * (cache.window / 4 + 2)
    guard let tiles = HeadTiles(weights.query, cache: cacheLayout.dtype) else {
      return launch(
        .projectHeads, weights.query.kernelType, Grid(geometry.blocks(rows: pairs, warps: 8)),
        sharedBytes: cacheLayout.keptBytes + lists, job)
    }
    let recent = tiles.recentInputs(
      window: cache.window, lists: lists, sharedBytes: device.blockSharedBytes)
    job.recent = Int32(recent)
    launch(
      .projectHeads, weights.query.kernelType,
      Grid(min((pairs + tiles.pairs - 1) / tiles.pairs, geometry.multiprocessors)),
      sharedBytes: tiles.ringBytes + (1 + recent) * tiles.inputStride + lists, job)
  }

  /// Layers take turns in paying their debts, so that no single token pays for all.
  private func turn(_ layer: Int, _ cache: CUDACache) -> Int32 {
    Int32(layer * cache.window / architecture.layers)
  }

  private var rotaryHalf: Int32 {
    if case .rotary(let rotary) = architecture.positions { Int32(rotary.width / 2) } else { 0 }
  }

  private func attendCache(layer: Int, groups: dv_choice, slice: SequenceSlice<CUDACache>) {
    let (cache, a) = (slice.cache, architecture)
    var job = dv_attend_arguments()
    job.groups = groups
    job.positions = scratch.positions(token: slice.start)
    job.queries = scratch.projected.row(0)
    (job.keys, job.values) = (cache.keys(layer: layer), cache.values(layer: layer))
    job.settled = cache.settled(layer: layer)
    (job.cosines, job.sines) = (scratch.cosines?.address ?? 0, scratch.sines?.address ?? 0)
    job.slopes = scratch.slopes?.address ?? 0
    job.parts = scratch.attentionParts.address
    (job.head, job.padded_head) = (Int32(a.headWidth), Int32(cacheLayout.paddedHead))
    (job.heads_per_group, job.group_count) = (Int32(a.headsPerGroup), Int32(a.kvHeads))
    (job.capacity, job.window) = (Int32(cache.capacity), Int32(cache.window))
    (job.turn, job.rotary_half) = (turn(layer, cache), rotaryHalf)
    job.splits = Int32(geometry.splits)
    job.sliding_window = Int32(a.slidingWindow ?? 0)
    job.scale = scoreScale
    let (riders, plane) = (riders(warps: 4, active: 20), a.kvHeads * geometry.splits)
    let planes = (riders.blocks + plane - 1) / plane
    (job.riders, job.rider_planes) = (riders.arguments, Int32(planes))
    launch(
      .attendCache, Grid(a.kvHeads, geometry.splits, planes + a.headsPerGroup),
      sharedBytes: riders.sharedBytes, job)
  }

  /// 1 / √h.
  private var scoreScale: Float { 1 / Float(architecture.headWidth).squareRoot() }

  private func sumHeads(layer: Int, groups: dv_choice, slice: SequenceSlice<CUDACache>) {
    let (output, a) = (model.layers[layer].output, architecture)
    let (slices, tiles) = (geometry.headSlices(output), geometry.tiles(output))
    let (lanes, width) = (a.heads * a.headWidth, a.headsPerGroup * a.headWidth)
    let most = max(
      (lanes + slices.all - 1) / slices.all,
      (a.kvHeads / 2 * width + slices.few - 1) / slices.few)
    // What rides has one block on every multiprocessor, beside those that sum.
    let warps = Kernel.sumHeads.threads(output.kernelType) / 32
    let riders = riders(warps: warps, active: warps)
    let planes = (riders.blocks + tiles - 1) / tiles
    let ownBytes = output.segmentBytes + 4 * (a.kvHeads + 1 + most)
    launch(
      .sumHeads, output.kernelType, Grid(tiles, planes + slices.all),
      sharedBytes: max(ownBytes, riders.sharedBytes),
      dv_output_arguments(
        groups: groups, context: merging(slice), output: output.address,
        out: scratch.sums.row(0), row_stride: output.elementStride,
        padded_width: Int32(output.format.paddedColumns(a.hidden)),
        out_stride: Int32(scratch.sums.stride), heads_per_group: Int32(a.headsPerGroup),
        rider_planes: Int32(planes), few_slices: Int32(slices.few), riders: riders.arguments))
  }

  /// How the context comes from attention's parts.
  private func merging(_ slice: SequenceSlice<CUDACache>) -> dv_context_arguments {
    let a = architecture
    return dv_context_arguments(
      positions: scratch.positions(token: slice.start), parts: scratch.attentionParts.address,
      context: scratch.context.row(0), heads: Int32(a.heads), head: Int32(a.headWidth),
      padded_head: Int32(cacheLayout.paddedHead), splits: Int32(geometry.splits),
      sliding_window: Int32(a.slidingWindow ?? 0), unused: 0)
  }

  /// Lists the groups whose contributions meet the rule, for every token.
  private func rankGroups(layer: Int, by rule: ChoiceRule, into chosen: CUDARows) {
    let (output, a) = (model.layers[layer].output, architecture)
    reserve(chosen)
    launch(
      .sizeGroups, output.kernelType, Grid(a.kvHeads, batch.tokens.count),
      dv_group_size_arguments(
        context: scratch.context.row(0), output: output.address, sizes: scratch.scores.row(0),
        lanes: Int32(a.headsPerGroup * a.headWidth), width: Int32(a.hidden),
        row_stride: output.elementStride, context_stride: Int32(scratch.context.stride),
        size_stride: Int32(scratch.scores.stride), unused: 0))
    select(scratch.scores.row(0), stride: scratch.scores.stride, by: rule, into: chosen)
  }

  // A prompt --------------------------------------------------------------------------------------

  private func attendPrompt(
    layer: Int, heads: RowChoice<CUDARows>, x: CUDABuffer, into out: CUDABuffer
  ) {
    let (weights, a, tokens) = (model.layers[layer], architecture, batch.tokens.count)
    let projected = scratch.projected
    if architecture.blockOrder == .postNorm { show(x, at: .attentionInput, layer: layer) }
    var (offset, input) = (0, operand(x, width: a.hidden, tokens: tokens, for: weights.query))
    for (matrix, bias) in BiasedRows.joined([
      BiasedRows(matrix: weights.query, bias: weights.queryBias),
      BiasedRows(matrix: weights.key, bias: weights.keyBias),
      BiasedRows(matrix: weights.value, bias: weights.valueBias),
    ]).map({ ($0.matrix, $0.bias) }) {
      input = operand(input, of: x, width: a.hidden, tokens: tokens, for: matrix)
      multiply(
        matrix, from: input, tokens: tokens, to: projected.row(0) + dv_address(4 * offset),
        stride: projected.stride, bias: bias)
      offset += matrix.rows
    }
    // Where nobody looks at the context, attention leaves it as the next product reads it.
    let isShown = observer?.wants(.context, layer: layer) ?? false
    let rounded = heads.isWhole && !isShown ? contextOperand(for: weights.output) : nil
    for slice in batch.slices where slice.count > 0 {
      if slice.cache.window > 0, slice.position > 0 {
        // Groups may owe keys from decoding when more prompt arrives.
        projectHeads(
          layer: layer, groups: allRows(a.kvHeads), slice: slice, settlesOnly: true)
      }
      attendSlice(layer: layer, slice: slice, into: rounded)
    }
    show(scratch.context, at: .context, layer: layer)
    switch heads {
    case .all, .nonzero: tally.headRows += tokens * a.kvHeads
    case .ranked(let measure, let rule, let chosen):
      precondition(measure == .contribution, "heads have no \(measure) to be ranked by")
      rankGroups(layer: layer, by: rule, into: chosen)
      maskHeads(layer: layer, chosen)
    case .listed(let rows): maskHeads(layer: layer, rows)
    }
    let context =
      rounded
      ?? operand(
        scratch.context, width: a.heads * a.headWidth, tokens: tokens, for: weights.output)
    multiplyTransposed(weights.output, from: context, into: out)
    let lanes = (a.heads + a.kvHeads) * a.headWidth
    tally.attentionWeights += 2 * lanes * weights.query.rowBytes
    tally.weightFlops += 2 * tokens * 2 * lanes * a.hidden
  }

  private func maskHeads(layer: Int, _ rows: CUDARows) {
    mask(
      Masked(scratch.context), by: rows, lanes: architecture.headsPerGroup * architecture.headWidth,
      counter: scratch.counters(layer: layer))
    notes.append(.headRows(layer: layer))
  }

  private func attendSlice(
    layer: Int, slice: SequenceSlice<CUDACache>, into rounded: Operand?
  ) {
    let (cache, a, projected) = (slice.cache, architecture, scratch.projected)
    var store = dv_store_arguments()
    store.projected = projected.row(slice.start)
    (store.keys, store.values) = (cache.keys(layer: layer), cache.values(layer: layer))
    store.settled = cache.settled(layer: layer)
    (store.cosines, store.sines) = (scratch.cosines?.address ?? 0, scratch.sines?.address ?? 0)
    store.stride = Int32(projected.stride)
    (store.heads, store.groups) = (Int32(a.heads), Int32(a.kvHeads))
    (store.head, store.padded_head) = (Int32(a.headWidth), Int32(cacheLayout.paddedHead))
    (store.capacity, store.rotary_half) = (Int32(cache.capacity), rotaryHalf)
    (store.position, store.tokens) = (Int32(slice.position), Int32(slice.count))
    let blocks = { (lanes: Int) in Grid(slice.count, (lanes + 1023) / 1024) }
    launch(.storeKeys, blocks(a.kvHeads * a.headWidth), store)
    if rotaryHalf > 0 { launch(.turnQueries, blocks(a.heads * Int(rotaryHalf)), store) }
    var job = dv_prompt_arguments()
    job.projected = projected.row(slice.start)
    (job.keys, job.values) = (store.keys, store.values)
    job.slopes = scratch.slopes?.address ?? 0
    job.context = scratch.context.row(slice.start)
    if let rounded {
      job.rounded = rounded.address + dv_address(2 * rounded.stride * slice.start)
      (job.rounded_stride, job.is_brain) = (
        Int32(rounded.stride), rounded.type == .bfloat16 ? 1 : 0
      )
    }
    (job.stride, job.context_stride) = (store.stride, Int32(scratch.context.stride))
    (job.head, job.padded_head) = (store.head, store.padded_head)
    (job.heads_per_group, job.capacity) = (Int32(a.headsPerGroup), store.capacity)
    (job.position, job.tokens) = (store.position, store.tokens)
    job.sliding_window = Int32(a.slidingWindow ?? 0)
    job.scale = scoreScale
    let shape = PromptTiles(cacheLayout)
    launch(
      .attendPrompt, Grid((slice.count + shape.queries - 1) / shape.queries, a.heads),
      sharedBytes: shape.sharedBytes, job)
    let end = slice.position + slice.count
    tally.cache += a.kvHeads * 2 * end * cacheLayout.paddedHead * cacheLayout.dtype.size
    let window = a.slidingWindow ?? .max
    let pairs = (0..<slice.count).reduce(0) { $0 + min(slice.position + $1 + 1, window) }
    tally.cacheFlops += 2 * 2 * a.heads * a.headWidth * pairs
  }
}

/// What a block needs that attends to a prompt's queries.
private struct PromptTiles {
  let queries: Int
  let sharedBytes: Int

  init(_ cache: CUDACacheLayout) {
    let step = 8 * 16 / cache.dtype.size
    let chunks = (cache.paddedHead + step - 1) / step
    let lanes = chunks * step
    if cache.dtype == .float32 {
      (queries, sharedBytes) = (8, 4 * (2 * 32 * (lanes + 1) + 8 * lanes))
    } else {
      let keys = chunks > 2 ? 32 : 64
      (queries, sharedBytes) = (64, 2 * (64 + 2 * keys) * (lanes + 8))
    }
  }
}
