import CDejaVuCUDA
import DejaVuCore

/// A choice whose vector is there in 8 bits.
///
/// Its products ride with other launches, or are launched by themselves when somebody wants the list.
final class Riding {
  /// What comes next: the first of two products, the scores, the list.
  enum Stage { case inner, scores, list }

  let choice: PendingChoice
  /// Where its scores and marks lie.
  let slot: Int
  /// Where its vector lies.
  let place: Int
  var stage: Stage
  /// Number of the launch that made its vector.
  let writer: Int
  /// Number of the launch that it rode with last.
  var scorer = -2

  init(_ choice: PendingChoice, slot: Int, place: Int, writer: Int) {
    (self.choice, self.slot, self.place, self.writer) = (choice, slot, place, writer)
    stage = choice.chooser.second == nil ? .scores : .inner
  }

  /// The matrix that is read next.
  var matrix: DeviceChooser.Matrix {
    stage == .inner ? choice.chooser.first : choice.chooser.second ?? choice.chooser.first
  }

  /// Whether the vector in 8 bits is read next.
  var readsVector: Bool {
    stage == .inner || (stage == .scores && choice.chooser.second == nil)
  }

  /// Whether bits say which rows are chosen.
  var marksRows: Bool {
    if case .threshold = choice.rule { true } else { false }
  }
}

/// Products of choices in one launch, their own or another's.
struct ScoreSet {
  var arguments = dv_score_arguments()
  var blocks = 0
  var sharedBytes = 0
}

extension CUDABackend {
  /// Brings what waiting choices read into 8 bits.
  ///
  /// - Parameter job: a vector that is prepared by the same launch.
  func roundChoices(preparing job: dv_prepare_job? = nil) {
    let choices = pendingChoices
    pendingChoices.removeAll(keepingCapacity: true)
    if !choices.isEmpty {
      // The new vectors take the places of those before.
      scoreNow(riding.filter(\.readsVector))
      if riding.count + choices.count > Int(dv_score_jobs) { finish(riding) }
    }
    let places = launchPreparations(of: choices, beside: job)
    for (choice, place) in zip(choices, places) {
      let slot = (0..<Int(dv_score_jobs)).first { slot in !riding.contains { $0.slot == slot } }
      riding.append(Riding(choice, slot: slot ?? 0, place: place, writer: launchNumber - 1))
    }
    // Nothing rides with a batch; finishing comes here again, with no new choices.
    if !isSingle, !choices.isEmpty { finish(riding) }
  }

  /// Makes every choice that was asked for.
  func makeChoices() {
    launchWaiting()
    finish(riding)
  }

  /// The list of a choice, as the next launch finds it.
  func listed(_ rows: CUDARows) -> dv_choice {
    if pendingChoices.contains(where: { $0.rows === rows }) { roundChoices() }
    finish(riding.filter { $0.choice.rows === rows })
    return rows.choice(for: launchNumber)
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
      job.width = Int32(architecture.hidden)
      job.columns = Int32(choice.chooser.first.columns)
      job.rounded_stride = Int32(4 * scratch.rounded.stride)
      jobs.append(job)
      places.append(norms.count)
      norms.append(choice.norm)
    }
    guard !jobs.isEmpty, !renew(preparing: jobs) else { return places }
    var arguments = dv_prepare_arguments()
    withUnsafeMutableBytes(of: &arguments.jobs) { bytes in
      for (index, job) in jobs.enumerated() {
        bytes.storeBytes(
          of: job, toByteOffset: index * MemoryLayout<dv_prepare_job>.stride,
          as: dv_prepare_job.self)
      }
    }
    let width = jobs.reduce(0) { max($0, Int($1.width)) }
    // A block has 1024 columns where the sums of a vector's tiles are known.
    let shares = isSingle ? (LaunchGeometry.arranged(width) + 1023) / 1024 : 1
    launch(
      .prepareVectors, Grid(jobs.count, choices.isEmpty ? 1 : batch.tokens.count, shares),
      sharedBytes: 3 * LaunchGeometry.vectorBytes(width), arguments)
    return places
  }

  // Beside other launches -------------------------------------------------------------------------

  /// What rides with a launch of so many warps a block, of which `active` on every multiprocessor score:
  /// every choice goes a product further.
  ///
  /// Riders whose vector was there before the launch ahead of theirs do not wait for that one; they stream
  /// rows where it has left a multiprocessor.
  func riders(warps: Int, active: Int) -> ScoreSet {
    launchWaiting()
    let ready = riding.filter { $0.stage != .list }
    for each in ready { each.scorer = launchNumber }
    defer { advance(ready) }
    return products(of: ready, warps: warps, active: active, lists: false, rides: true)
  }

  /// Lists that can be made beside the next launch.
  func listRiders() -> [dv_list_job] {
    roundChoices()
    let ready = riding.filter { $0.stage == .list && $0.marksRows }
    riding.removeAll { each in ready.contains { $0 === each } }
    return ready.map { each in
      let rows = each.choice.rows
      rows.writer = launchNumber
      let bits = marks(of: each.slot).bits
      rows.marks = (bits, each.scorer)
      return dv_list_job(
        bits_above: bits, count: rows.counts, list: rows.lists,
        rows: Int32(rows.universe), unused: 0)
    }
  }

  private func advance(_ choices: [Riding]) {
    for each in choices { each.stage = each.stage == .inner ? .scores : .list }
  }

  // By themselves ---------------------------------------------------------------------------------

  /// Launches what is left of choices: the first matrices of all, then the second ones; what is chosen
  /// by a threshold is listed by the same launch.
  private func finish(_ wanted: [Riding]) {
    guard !wanted.isEmpty else { return }
    // Nothing may come between a list and the number of the launch that writes it.
    launchWaiting()
    let choices = riding.filter { each in wanted.contains { $0 === each } }
    riding.removeAll { each in wanted.contains { $0 === each } }
    scoreNow(choices.filter { $0.stage == .inner })
    let listed = choices.filter { $0.stage == .scores && lists($0) }
    let others = choices.filter { $0.stage == .list || !lists($0) }
    for each in listed { each.choice.rows.writer = launchNumber }
    scoreNow(listed, lists: true)
    scoreNow(others.filter { $0.stage == .scores })
    for each in others {
      let (choice, scores) = (each.choice, scores(of: each.slot))
      select(
        scores.row(each.slot), stride: scores.stride, by: choice.rule, into: choice.rows,
        level: level(of: choice.chooser))
    }
  }

  private func scoreNow(_ choices: [Riding], lists: Bool = false) {
    guard !choices.isEmpty else { return }
    let warps = Kernel.scoreRows.shape.threads / 32
    let set = products(of: choices, warps: warps, active: 20, lists: lists, rides: false)
    launch(
      .scoreRows, .float32, Grid(set.blocks, batch.tokens.count), sharedBytes: set.sharedBytes,
      set.arguments)
    advance(choices)
  }

  // Products --------------------------------------------------------------------------------------

  /// Whether the launch that scores a choice's rows can list them as well.
  private func lists(_ each: Riding) -> Bool { isSingle && each.marksRows }

  /// Where a job's scores go: a batch has one job at a time.
  private func scores(of slot: Int) -> CUDABuffer { isSingle ? scratch.jobScores : scratch.scores }

  private func marks(of slot: Int) -> (ticket: dv_address, bits: dv_address) {
    (scratch.jobMarks.row(slot), scratch.jobMarks.row(slot) + 16)
  }

  private func products(
    of choices: [Riding], warps: Int, active: Int, lists: Bool, rides: Bool
  ) -> ScoreSet {
    var set = ScoreSet()
    set.arguments.count = Int32(choices.count)
    var jobs: [dv_score_job] = []
    let rows = choices.reduce(0) { $0 + $1.matrix.host.rows }
    for each in choices {
      var job = job(each, lists: lists)
      job.early = rides && each.readsVector && launchNumber - each.writer >= 2 ? 1 : 0
      let host = each.matrix.host
      // As many blocks as its share of all rows, and as many as its rows fill.
      let share = max(active * geometry.multiprocessors / warps * host.rows / max(rows, 1), 1)
      let step = max(warps * (job.isShort ? 4 : 1), job.bits_above == 0 ? 1 : 32)
      job.first_block = Int32(set.blocks)
      job.blocks = Int32(max(min(share, (host.rows + step - 1) / step), (host.rows + 4095) / 4096))
      set.blocks += Int(job.blocks)
      set.sharedBytes = max(set.sharedBytes, LaunchGeometry.eighthBytes(each.matrix.columns))
      jobs.append(job)
    }
    withUnsafeMutableBytes(of: &set.arguments.jobs) { bytes in
      jobs.withUnsafeBytes { bytes.copyMemory(from: $0) }
    }
    return set
  }

  private func job(_ each: Riding, lists: Bool) -> dv_score_job {
    let (matrix, chooser, rows) = (each.matrix, each.choice.chooser, each.choice.rows)
    var job = dv_score_job()
    if each.readsVector {
      job.rounded = scratch.rounded.row(each.place)
      job.rounded_stride = Int32(4 * scratch.rounded.stride)
      job.width = Int32(architecture.hidden)
    } else if let hidden = chooser.hidden {
      (job.x, job.x_stride) = (hidden.row(0), Int32(hidden.stride))
      job.width = Int32(chooser.first.host.rows)
    }
    (job.codes, job.scales) = (matrix.codes.address, matrix.scales.address)
    (job.columns, job.rows) = (Int32(matrix.columns), Int32(matrix.host.rows))
    job.bits = Int32(matrix.host.bits)
    if each.stage == .inner, let hidden = chooser.hidden {
      (job.scores, job.score_stride) = (hidden.row(0), Int32(hidden.stride))
      return job
    }
    (job.bias, job.gain) = (chooser.bias?.address ?? 0, chooser.gain?.address ?? 0)
    let scores = scores(of: each.slot)
    (job.scores, job.score_stride) = (scores.row(each.slot), Int32(scores.stride))
    guard case .threshold(let threshold) = each.choice.rule, isSingle else { return job }
    (job.bits_above, job.threshold) = (marks(of: each.slot).bits, threshold)
    guard lists else { return job }
    (job.ticket, job.count, job.list) = (marks(of: each.slot).ticket, rows.counts, rows.lists)
    return job
  }
}

extension dv_score_job {
  /// Whether a warp reads four rows at a time.
  fileprivate var isShort: Bool { columns * bits / 128 <= 64 }
}
