import DejaVu
import DejaVuCPU
import DejaVuCUDA
import DejaVuCore
import DejaVuFormats
import DejaVuModels
import DejaVuTokenizers

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The rounds of one group: record, train, score.
final class TrainingRounds {
  private unowned let training: PredictorTraining
  private let group: TrainingGroup
  private let session: any Session
  private let samples: SampleStore
  private let heldOut: SampleStore
  private let scorer: HeldOutScorer
  private let trainer: any PredictorTrainer
  private let models: [LowRankModel]
  private let weights: [RowWeights]
  private var stream: WindowStream
  private var loss = 0.0
  private var schedule: TrainingSchedule
  /// Models that are scored as they would be stored, by their shape.
  private var visitors: [PredictorShape: LowRankModel] = [:]

  private var window: Int { training.plan.window }
  private var roundTokens: Int { group.fresh * window }
  private var options: TrainingOptions { training.options }
  private var architecture: Architecture { training.engine.model.architecture }

  init(_ training: PredictorTraining, _ group: TrainingGroup) throws {
    self.training = training
    self.group = group
    let architecture = training.engine.model.architecture
    session = try training.engine.makeSession(capacity: training.plan.window)
    samples = try SampleStore(
      tokens: group.slots * training.plan.window, group: group, architecture: architecture)
    let heldOutWindows = max(1, TrainingShape.heldOutTokens / training.plan.window)
    heldOut = try SampleStore(
      tokens: heldOutWindows * training.plan.window, group: group, architecture: architecture)
    scorer = HeldOutScorer(store: heldOut, arithmetic: training.arithmetic)
    trainer = try training.place.makeTrainer(
      training.arithmetic, sites: group.sites, hidden: architecture.hidden,
      batch: TrainingShape.minibatch)
    stream = training.windows(of: training.text.training)
    schedule = Self.makeSchedule(training, group)
    let options = training.options
    weights = group.sites.map { site in
      let isPlain = site.site.axis == .neurons && options.criterion == .activation
      return RowWeights(
        positive: isPlain ? 1 : ContributionCode.threshold, massPower: options.massPower)
    }
    models = Self.makeModels(training, group)
    try restore()
  }

  /// Groups share the time evenly.
  private static func makeSchedule(
    _ training: PredictorTraining, _ group: TrainingGroup
  ) -> TrainingSchedule {
    let start = training.elapsed
    let groupsLeft = Double(training.plan.groups.count - training.state.group)
    return TrainingSchedule(
      tokens: training.options.tokens, roundTokens: group.fresh * training.plan.window,
      start: start,
      end: training.options.timeBudget.map { start + ($0 / .seconds(1) - start) / groupsLeft })
  }

  /// Models that have taken no step, each with random numbers of its own.
  private static func makeModels(
    _ training: PredictorTraining, _ group: TrainingGroup
  ) -> [LowRankModel] {
    let first = training.state.group * 1_000_003
    let (seed, hidden) = (training.options.seed, training.engine.model.architecture.hidden)
    var models = [LowRankModel?](repeating: nil, count: group.sites.count)
    models.withUnsafeMutableBufferPointer { buffer in
      nonisolated(unsafe) let buffer = buffer
      training.arithmetic.run(chunks: group.sites.count) { index in
        let site = group.sites[index]
        let model = LowRankModel(rank: site.rank, hidden: hidden, rows: site.rows)
        var random = SplitMix64(seed: seed &* 0x1000_0000_01B3 &+ UInt64(first + index))
        model.initialize(&random)
        buffer[index] = model
      }
    }
    return models.compactMap { $0 }
  }

  private func restore() throws {
    guard training.state.round > 0, let stored = training.stored, let path = training.statePath
    else {
      training.state.random = SplitMix64(seed: options.seed &+ 77)
      return
    }
    for (index, model) in models.enumerated() {
      try stored.file.restore(model, index: index, steps: stored.steps, path: path)
    }
    training.stored = nil
  }

  /// - Returns: false when it was interrupted; the state is stored then.
  func run(_ door: TrainingDoor) throws -> Bool {
    let isReady = try training.timed(\.preparing) { try recordHeldOut(door) && refill(door) }
    guard isReady else { return try interrupted() }
    while !isDone {
      guard try runRound(door) else { return try interrupted() }
      try planTokens()
      if isDone || isScoringDue { try score() }
      if !isDone, isSavingDue { try save(isBeside: trainer.leavesModels) }
      show(door, training.elapsed)
      if door.isInterrupted() && !isDone { return try interrupted() }
    }
    training.report.tokens = max(training.report.tokens, tokens)
    training.report.heldOutTokens = heldOut.tokens
    return true
  }

  /// - Returns: false when it was interrupted.
  private func runRound(_ door: TrainingDoor) throws -> Bool {
    let start = ContinuousClock.now
    let isWhole = try training.timed(\.collecting) {
      try collect(into: training.state.round, door)
    }
    guard isWhole else { return false }
    training.timed(\.training) { trainRound(door) }
    training.state.round += 1
    schedule.add(round: (ContinuousClock.now - start) / .seconds(1))
    return true
  }

  private var tokens: Int { training.state.round * roundTokens }

  private var isDone: Bool {
    if training.state.stale >= TrainingShape.patience { return true }
    guard let planned = options.tokens ?? training.state.plannedTokens else { return false }
    return training.state.round > 0 && tokens >= planned
  }

  private func interrupted() throws -> Bool {
    // Models change in whole rounds only, so what they are is the state after the last one.
    if training.state.round > 0 { try save(isBeside: false) }
    return false
  }

  private func save(isBeside: Bool) throws {
    guard training.statePath != nil else { return }
    let start = ContinuousClock.now
    let before = try training.timed(\.saving) {
      let before = try training.writer.finish()
      for model in models { try trainer.settle(model) }
      try training.save(models, isBeside: isBeside)
      return before
    }
    // What is written beside takes as long as the one before, as far as anyone knows.
    schedule.add(
      saving: (ContinuousClock.now - start) / .seconds(1), beside: isBeside ? before : 0)
  }

  private var isScoringDue: Bool {
    schedule.isScoringDue(
      after: training.state.round, of: training.state.plannedTokens, at: training.elapsed)
  }

  private var isSavingDue: Bool {
    schedule.isSavingDue(
      after: training.state.round, of: options.tokens ?? training.state.plannedTokens,
      since: (ContinuousClock.now - training.lastSave) / .seconds(1))
  }

  // Samples -----------------------------------------------------------------------------------

  private func recordHeldOut(_ door: TrainingDoor) throws -> Bool {
    var stream = training.windows(of: training.text.heldOut)
    for index in 0..<heldOut.tokens / window {
      if door.isInterrupted() { return false }
      try record(try stream.next(), into: heldOut, slot: index)
    }
    return true
  }

  /// Brings back the windows that a continued run had in memory.
  private func refill(_ door: TrainingDoor) throws -> Bool {
    let done = training.state.round * group.fresh
    for index in 0..<done {
      let tokens = try stream.next()
      guard index >= done - group.slots else { continue }
      if door.isInterrupted() { return false }
      try record(tokens, into: samples, slot: index % group.slots)
    }
    return true
  }

  private func collect(into round: Int, _ door: TrainingDoor) throws -> Bool {
    for index in round * group.fresh..<(round + 1) * group.fresh {
      if door.isInterrupted() { return false }
      try record(try stream.next(), into: samples, slot: index % group.slots)
      show(door, training.elapsed)
    }
    return true
  }

  private func record(_ tokens: [TokenID], into store: SampleStore, slot: Int) throws {
    defer { training.recorder.stop() }
    try training.read(tokens, session) { start in
      training.recorder.record(
        into: store, group: group, thresholds: training.thresholds, row: slot * window + start)
    }
  }

  // Training ----------------------------------------------------------------------------------

  private func trainRound(_ door: TrainingDoor) {
    let filled = min((training.state.round + 1) * group.fresh, group.slots) * window
    let steps = max(1, options.passes * roundTokens / TrainingShape.minibatch)
    for step in 0..<steps {
      let picked = (0..<TrainingShape.minibatch).map { _ in training.state.random.index(filled) }
      let share = Double(step) / Double(steps)
      var sum = 0.0
      for (index, site) in group.sites.enumerated() {
        gather(picked, index, site)
        sum += trainer.step(
          models[index], tokens: picked.count, weights: weights[index],
          learningRate: learningRate(models[index].steps, share: share))
      }
      let mean = sum / Double(group.sites.count)
      loss = loss == 0 ? mean : 0.98 * loss + 0.02 * mean
      show(door, training.elapsed)
    }
  }

  private func gather(_ picked: [Int], _ index: Int, _ site: TrainingSite) {
    nonisolated(unsafe) let (samples, trainer, codes) = (samples, trainer, trainer.codes)
    let loops = training.arithmetic.loops
    training.arithmetic.run(chunks: 16) { part in
      for t in part * picked.count / 16..<(part + 1) * picked.count / 16 {
        loops.widen(
          samples.stream(site.stream, token: picked[t]), .float16, count: samples.width,
          into: trainer.stream(t))
        (codes + t * site.rows).update(
          from: samples.codes(index, token: picked[t]), count: site.rows)
      }
    }
  }

  /// Warm-up, then half a cosine over the planned tokens.
  ///
  /// The first rounds, in which nobody knows how many there will be, are at its top.
  private func learningRate(_ step: Int, share: Double) -> Float {
    let warmUp = min(1, Float(step + 1) / Float(TrainingShape.warmUpSteps))
    guard training.state.round >= TrainingShape.timedRounds,
      let planned = options.tokens ?? training.state.plannedTokens
    else { return options.learningRate * warmUp }
    let done = (Double(training.state.round) + share) * Double(roundTokens)
    let progress = min(done / Double(max(planned, 1)), 1)
    return options.learningRate * warmUp * Float(0.01 + 0.99 * (1 + cos(.pi * progress)) / 2)
  }

  // Time --------------------------------------------------------------------------------------

  /// Decides after the first rounds how many tokens the time allows, the last scoring included, and takes
  /// some back where the machine has become slower since.
  private func planTokens() throws {
    if schedule.needsScoringCost, training.state.round >= TrainingShape.timedRounds {
      try rehearseScoring()
    }
    let plan = schedule.plan(
      training.state.plannedTokens, after: training.state.round, at: training.elapsed)
    training.state.plannedTokens = plan.tokens
    training.report.isCutShort = plan.isCutShort
  }

  // Scoring -----------------------------------------------------------------------------------

  /// Scores the largest predictor to see how long that takes.
  private func rehearseScoring() throws {
    guard let largest = models.indices.max(by: { models[$0].count < models[$1].count }) else {
      return
    }
    let start = ContinuousClock.now
    _ = try training.timed(\.scoring) { try scored(largest) }
    let all = models.reduce(0) { $0 + $1.count }
    schedule.add(
      scoring: (ContinuousClock.now - start) / .seconds(1),
      share: Double(models[largest].count) / Double(all))
  }

  /// One predictor as it would be stored, and what it achieves.
  private func scored(_ index: Int) throws -> (rounded: RoundedPredictor, figures: PredictorFigures)
  {
    let site = group.sites[index]
    let visitor =
      try visitors[models[index].shape]
      ?? trainer.makeVisitor(for: site, hidden: architecture.hidden)
    visitors[visitor.shape] = visitor
    let rounded = RoundedPredictor(
      try trainer.latest(models[index], in: visitor), bits: options.bits, training.arithmetic)
    rounded.restore(visitor, bits: options.bits, training.arithmetic)
    trainer.reload(visitor)
    var figures = scorer.figures(
      of: visitor, at: index, site, positive: weights[index].positive, trainer: trainer)
    figures.tokens = tokens
    return (rounded, figures)
  }

  /// Scores every predictor, and keeps those that became better.
  private func score() throws {
    let start = ContinuousClock.now
    var isBetter = false
    for (index, site) in group.sites.enumerated() {
      let (rounded, figures) = try training.timed(\.scoring) { try scored(index) }
      if let old = training.state.best[site.site]?.entry.figures,
        (old.coveredMass, old.recall) >= (figures.coveredMass, figures.recall)
      {
        continue
      }
      isBetter = true
      let entry = PredictorEntry(
        site: site.site, rank: site.rank, bits: options.bits, hasBias: true,
        criterion: options.criterion.rawValue,
        threshold: Double(training.thresholds[PredictorKey(site.site)] ?? 0), figures: figures)
      training.state.best[site.site] = BestPredictor(entry: entry, rounded: rounded)
    }
    training.state.stale = isBetter ? 0 : training.state.stale + 1
    schedule.add(scoring: (ContinuousClock.now - start) / .seconds(1))
  }

  private func show(_ door: TrainingDoor, _ elapsed: Double) {
    let planned = options.tokens ?? training.state.plannedTokens
    let axis = group.sites.contains { $0.site.axis == .neurons } ? RowAxis.neurons : .heads
    let masses = group.sites.filter { $0.site.axis == axis }.compactMap {
      training.state.best[$0.site]?.entry.figures.coveredMass
    }
    var remaining: Double?
    let seconds = schedule.secondsPerRound
    if let planned, let seconds {
      remaining = Double(max(planned - tokens, 0) / roundTokens) * seconds
    } else if let budget = options.timeBudget {
      remaining = max(0, budget / .seconds(1) - elapsed)
    }
    door.progress(
      TrainingProgress(
        phase: "training", tokens: tokens, plannedTokens: planned ?? 0, loss: loss, axis: axis,
        coveredMass: masses, remainingSeconds: remaining,
        tokensPerSecond: seconds.map { Double(roundTokens) / max($0, 1e-9) }))
  }
}
