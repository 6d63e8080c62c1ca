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
    makeChoices()
    reserve(rows)
    guard
      let source = attempt({ () throws(BackendError) in try rows.hostList(indices) })
    else { return }
    rows.writer = launchNumber
    launch(
      .assignList, Grid(batch.tokens.count),
      dv_assign_arguments(
        source: source, counts: rows.counts, lists: rows.lists, list_stride: Int32(rows.universe)))
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
      makeChoices()
    }
    reserve(rows)
    let norm = summed(norm(of: weights, layer: layer), of: x)
    pendingChoices.append(
      PendingChoice(chooser: chooser, norm: norm, rule: rule, x: x, rows: rows))
    if !isSingle { makeChoices() }
    tally.chooser += weights.byteCount
    let elements = [weights.first, weights.second].reduce(0) {
      $0 + ($1.map { $0.rows * $0.columns } ?? 0)
    }
    tally.weightFlops += 2 * batch.tokens.count * elements
  }

  private func norm(of weights: ChooserWeights, layer: Int) -> dv_norm {
    switch weights.norm {
    case .plain: dv_norm(weight: 0, bias: 0, tiles: 0, epsilon: 1e-6, kind: 2, tile_width: 0)
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

  /// Makes the choices that were put off: the first matrices of all in one launch, then the second
  /// ones; what is chosen by a threshold is listed by the same launch.
  ///
  /// - Parameter job: a vector that is prepared by the same launch as theirs.
  func makeChoices(preparing job: dv_prepare_job? = nil) {
    let choices = pendingChoices
    pendingChoices.removeAll(keepingCapacity: true)
    let places = launchPreparations(of: choices, beside: job)
    guard !choices.isEmpty else { return }
    var (first, second) = ([ScoreWork](), [ScoreWork]())
    for (slot, choice) in choices.enumerated() {
      let chooser = choice.chooser
      let start = ScoreWork(
        matrix: chooser.first, choice: choice, slot: slot, place: places[slot], x: choice.x,
        width: architecture.hidden)
      guard let matrix = chooser.second, let hidden = chooser.hidden else {
        first.append(start)
        continue
      }
      var inner = start
      inner.hidden = hidden
      first.append(inner)
      second.append(
        ScoreWork(
          matrix: matrix, choice: choice, slot: slot, x: hidden, width: chooser.first.host.rows))
    }
    score(first)
    score(second)
    for (slot, choice) in choices.enumerated() where !lists(choice) {
      let scores = scores(of: slot)
      select(
        scores.row(slot), stride: scores.stride, by: choice.rule, into: choice.rows,
        level: level(of: choice.chooser))
    }
  }

  /// Brings what choosers read into 8 bits, once for all that read through the same norm.
  ///
  /// - Returns: where each choice's vector lies among the prepared.
  private func launchPreparations(
    of choices: [PendingChoice], beside extra: dv_prepare_job?
  ) -> [Int] {
    var jobs = extra.map { [$0] } ?? []
    var (places, norms) = ([Int](), [dv_norm]())
    for choice in choices {
      if let known = norms.firstIndex(where: {
        $0.weight == choice.norm.weight && $0.kind == choice.norm.kind
      }) {
        places.append(known)
        continue
      }
      var job = dv_prepare_job()
      (job.norm, job.x, job.x_stride) = (choice.norm, choice.x.row(0), Int32(choice.x.stride))
      job.rounded = scratch.rounded.row(norms.count)
      job.units = scratch.units.row(0) + dv_address(4 * norms.count)
      job.width = Int32(architecture.hidden)
      job.columns = Int32(choice.chooser.first.host.columns)
      job.rounded_stride = Int32(4 * scratch.rounded.stride)
      jobs.append(job)
      places.append(norms.count)
      norms.append(choice.norm)
    }
    guard !jobs.isEmpty else { return places }
    var arguments = dv_prepare_arguments()
    withUnsafeMutableBytes(of: &arguments.jobs) { bytes in
      for (index, job) in jobs.enumerated() {
        bytes.storeBytes(
          of: job, toByteOffset: index * MemoryLayout<dv_prepare_job>.stride,
          as: dv_prepare_job.self)
      }
    }
    let width = jobs.reduce(0) { max($0, Int($1.width)) }
    launch(
      .prepareVectors, Grid(jobs.count, choices.isEmpty ? 1 : batch.tokens.count),
      sharedBytes: 3 * LaunchGeometry.vectorBytes(width), arguments)
    return places
  }

  /// Whether the launch that scores a choice's rows lists them as well.
  private func lists(_ choice: PendingChoice) -> Bool {
    guard case .threshold = choice.rule else { return false }
    return isSingle
  }

  /// Where a job's scores go: a batch has one job at a time.
  private func scores(of slot: Int) -> CUDABuffer { isSingle ? scratch.jobScores : scratch.scores }

  private func score(_ work: [ScoreWork]) {
    guard !work.isEmpty else { return }
    var arguments = dv_score_arguments()
    arguments.count = Int32(work.count)
    var (jobs, block, sharedBytes) = ([dv_score_job](), 0, 0)
    let rows = work.reduce(0) { $0 + $1.matrix.host.rows }
    for each in work {
      var job = job(each)
      let (host, isRounded) = (each.matrix.host, job.rounded != 0)
      // As many blocks as its share of all rows, and as many as its rows fill.
      let share = max(2 * geometry.multiprocessors * host.rows / max(rows, 1), 1)
      let least = (host.rows + 4095) / 4096
      job.first_block = Int32(block)
      job.blocks = Int32(max(min(share, (host.rows + 31) / 32 * (job.list == 0 ? 4 : 1)), least))
      block += Int(job.blocks)
      sharedBytes = max(
        sharedBytes, (isRounded ? 0 : LaunchGeometry.vectorBytes(each.width)) + host.columns)
      jobs.append(job)
    }
    withUnsafeMutableBytes(of: &arguments.jobs) { bytes in
      for (index, job) in jobs.enumerated() {
        bytes.storeBytes(
          of: job, toByteOffset: index * MemoryLayout<dv_score_job>.stride, as: dv_score_job.self)
      }
    }
    for each in work where each.hidden == nil && lists(each.choice) {
      each.choice.rows.writer = launchNumber
    }
    launch(
      .scoreRows, .float32, Grid(block, batch.tokens.count), sharedBytes: sharedBytes, arguments)
  }

  private func job(_ work: ScoreWork) -> dv_score_job {
    let (host, chooser, rows) = (work.matrix.host, work.choice.chooser, work.choice.rows)
    var job = dv_score_job()
    if let place = work.place {
      job.rounded = scratch.rounded.row(place)
      job.units = scratch.units.row(0) + dv_address(4 * place)
      job.rounded_stride = Int32(4 * scratch.rounded.stride)
    } else {
      (job.x, job.x_stride) = (work.x.row(0), Int32(work.x.stride))
    }
    (job.codes, job.scales) = (work.matrix.codes.address, work.matrix.scales.address)
    (job.width, job.columns) = (Int32(work.width), Int32(host.columns))
    (job.rows, job.bits) = (Int32(host.rows), Int32(host.bits))
    if let hidden = work.hidden {
      (job.scores, job.score_stride) = (hidden.row(0), Int32(hidden.stride))
      return job
    }
    (job.bias, job.gain) = (chooser.bias?.address ?? 0, chooser.gain?.address ?? 0)
    let scores = scores(of: work.slot)
    (job.scores, job.score_stride) = (scores.row(work.slot), Int32(scores.stride))
    if case .threshold(let threshold) = work.choice.rule, lists(work.choice) {
      job.ticket = scratch.jobMarks.row(work.slot)
      job.bits_above = job.ticket + 16
      (job.count, job.list, job.threshold) = (rows.counts, rows.lists, threshold)
    }
    return job
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
    makeChoices()
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

  private func level(of chooser: DeviceChooser) -> dv_address {
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

/// One product of a choice.
private struct ScoreWork {
  let matrix: DeviceChooser.Matrix
  let choice: PendingChoice
  let slot: Int
  /// Where its vector lies in 8 bits; nil rounds `x`.
  var place: Int?
  let x: CUDABuffer
  let width: Int
  /// Where the first of two products goes.
  var hidden: CUDABuffer?
}
