import CDejaVuCUDA
package import DejaVuCore

/// A choice that was asked for and not made yet.
struct PendingChoice {
  let chooser: DeviceChooser
  let norm: dv_norm
  let rule: ChoiceRule
  let x: CUDABuffer
  let rows: CUDARows
}

extension CUDABackend {
  package func makeRows(universe: Int, isPrecise: Bool) -> CUDARows {
    let rows = CUDARows(device, universe: universe, isPrecise: isPrecise)
    attempt { () throws(BackendError) in _ = try rows.reserve(tokens: 1) }
    return rows
  }

  package func list(of token: Int, in rows: CUDARows) -> [Int32] {
    flush()
    return rows.list(of: token)
  }

  package func assign(_ indices: [Int32], to rows: CUDARows) {
    // What the step has read of the last list must be read before it changes.
    if rows.sourceStep == stepNumber {
      flush()
      device.wait()
    }
    rows.sourceStep = stepNumber
    readsHost = true
    makeChoices()
    reserve(rows)
    guard
      let source = attempt({ () throws(BackendError) in try rows.hostList(indices) })
    else { return }
    rows.writer = launchNumber
    launch(
      .assignList, Grid(batch.tokens.count),
      dv_assign_arguments(
        source: source, counts: rows.counts, lists: rows.lists, list_stride: Int32(rows.universe),
        unused: 0))
  }

  /// Lists that differ are copied between launches: the step is not replayed.
  package func assign(each lists: [[Int32]], to rows: CUDARows) {
    precondition(
      lists.count == batch.tokens.count, "\(lists.count) lists for \(batch.tokens.count) tokens")
    guard lists.count > 1 else { return assign(lists.first ?? [], to: rows) }
    flush()
    device.wait()
    reserve(rows)
    attempt { () throws(BackendError) in try rows.copy(lists: lists) }
  }

  /// Makes room for the lists of this batch.
  func reserve(_ rows: CUDARows) {
    attempt { () throws(BackendError) in
      if let old = try rows.reserve(tokens: batch.tokens.count > 1 ? batchCapacity : 1) {
        retired.append(old)
      }
    }
  }

  package func choose(
    _ weights: ChooserWeights, by rule: ChoiceRule, layer: Int, reading x: CUDABuffer,
    into rows: CUDARows
  ) {
    precondition(
      weights.rows == rows.universe, "\(weights.rows) scores for \(rows.universe) rows")
    settle(x)
    guard let chooser = onDevice(weights) else { return }
    if let first = pendingChoices.first,
      first.x !== x || pendingChoices.count == Int(dv_score_jobs)
    {
      roundChoices()
    }
    reserve(rows)
    let norm = summed(norm(of: weights, layer: layer), of: x)
    pendingChoices.append(
      PendingChoice(chooser: chooser, norm: norm, rule: rule, x: x, rows: rows))
    if !isSingle { roundChoices() }
    tally.chooser += weights.byteCount
    let elements = [weights.first, weights.second].reduce(0) {
      $0 + ($1.map { $0.rows * $0.columns } ?? 0)
    }
    tally.weightFlops += 2 * batch.tokens.count * elements
  }

  private func norm(of weights: ChooserWeights, layer: Int) -> dv_norm {
    switch weights.norm {
    case .plain:
      dv_norm(weight: 0, bias: 0, tiles: 0, epsilon: 1e-6, kind: 2, tile_width: 0, unused: 0)
    case .mlp where architecture.blockOrder == .postNorm: dv_norm()
    case .mlp: described(model.layers[layer].mlpNorm)
    }
  }

  /// The chooser's matrices, copied when they are first asked for, and room between them.
  private func onDevice(_ weights: ChooserWeights) -> DeviceChooser? {
    let known = choosers[DeviceChooser.Key(weights)]
    let made =
      known ?? attempt { () throws(BackendError) in try DeviceChooser(weights, on: device) }
    guard let chooser = made else { return nil }
    choosers[DeviceChooser.Key(weights)] = chooser
    let tokens = batch.tokens.count > 1 ? batchCapacity : 1
    if chooser.second != nil, chooser.hiddenTokens < tokens {
      if let old = chooser.hidden?.memory { retired.append(old) }
      let stride = Padding.width(chooser.first.host.rows)
      let memory = attempt { () throws(BackendError) in
        try DeviceMemory(device, byteCount: 4 * tokens * stride, what: "a chooser's inner vector")
      }
      chooser.hidden = CUDABuffer(memory: memory, stride: stride)
      chooser.hiddenTokens = tokens
    }
    return chooser
  }

  /// Lists the rows whose scores meet the rule, for every token.
  func select(
    _ scores: dv_address, stride: Int, by rule: ChoiceRule, into rows: CUDARows,
    level: dv_address = 0
  ) {
    var (keep, limit): (Int, Float) = (0, 0)
    switch rule {
    case .threshold(let threshold): limit = threshold
    case .highest(let count): keep = max(count, 1)
    }
    let bytes = 4 * rows.universe
    let fits = bytes <= device.blockSharedBytes - (8 << 10)
    launchWaiting()
    rows.writer = launchNumber
    launch(
      .selectRows, Grid(batch.tokens.count), sharedBytes: fits ? bytes : 0,
      dv_select_arguments(
        scores: scores, counts: rows.counts, lists: rows.lists, level: level,
        rows: Int32(rows.universe), score_stride: Int32(stride),
        list_stride: Int32(rows.universe), keep: Int32(min(keep, rows.universe)),
        threshold: limit, fits: fits ? 1 : 0))
  }

  // Levels ----------------------------------------------------------------------------------------

  func level(of chooser: DeviceChooser) -> dv_address {
    guard measuresLevels else { return 0 }
    if chooser.level == nil {
      chooser.level = attempt { () throws(BackendError) in
        try DeviceMemory(device, byteCount: 4, what: "a chooser's level")
      }
    }
    return chooser.level?.address ?? 0
  }

  /// The score that a chooser's rows had to exceed in the last step, where levels are measured and
  /// it kept the highest.
  package func level(of weights: ChooserWeights) -> Float? {
    guard let memory = choosers[DeviceChooser.Key(weights)]?.level else { return nil }
    var level: Float = 0
    device.fetch(memory.address, to: &level, bytes: 4)
    device.wait()
    return level
  }
}
