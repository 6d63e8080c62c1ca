package import DejaVu
import DejaVuCPU
import DejaVuCore
package import DejaVuEvaluation
import DejaVuFormats
import DejaVuModels
package import DejaVuTokenizers

/// Collects activations and trains every predictor of a model, while text streams by.
///
/// Text is read in windows. Each round replaces some of the windows in memory by new ones and then
/// trains on minibatches drawn from all of them, so neither memory nor disk grows with the text.
/// Between rounds the whole state is small enough to be stored, and a later run continues it.
package final class PredictorTraining {
  let engine: Engine
  let place: TrainingPlace
  let tokenizer: any Tokenizer
  let fingerprint: String
  let text: DividedText
  let options: TrainingOptions
  let plan: TrainingPlan
  let arithmetic: DenseArithmetic
  let recorder: ActivationRecorder
  /// Where the state is kept between rounds; nil keeps none.
  let statePath: String?
  var state: TrainingState
  var thresholds: [PredictorKey: Float] = [:]
  var report = TrainingReport()
  /// Models of a stored state, not restored yet.
  var stored: (file: SafetensorsFile, steps: Int)?
  let writer = StateWriter()
  private let start = ContinuousClock.now
  private let secondsBefore: Double
  private(set) var lastSave = ContinuousClock.now

  /// Prepares training; reads a stored state, if there is one of the same run.
  ///
  /// - Parameters:
  ///   - engine: a model on the CPU or on a card.
  ///   - tokenizer: the model's.
  ///   - fingerprint: the model's.
  ///   - text: documents; some are held out.
  ///   - options: what is trained.
  ///   - statePath: where the state is kept; nil keeps none.
  /// - Throws: ``TrainingError``, ``BackendError`` or ``CheckpointError``.
  package init(
    engine: Engine, tokenizer: any Tokenizer, fingerprint: String, text: EvaluationText,
    options: TrainingOptions, statePath: String?
  ) throws {
    place = try TrainingPlace(engine)
    self.engine = engine
    self.tokenizer = tokenizer
    self.fingerprint = fingerprint
    self.text = try DividedText(text)
    self.options = options
    self.statePath = statePath
    plan = try TrainingPlan(engine.model, options, batch: place.batchCapacity)
    arithmetic = try place.makeArithmetic(roundsToBFloat16: options.roundsToBFloat16)
    recorder = ActivationRecorder(
      model: engine.model, options: options, arithmetic: arithmetic, batch: place.batchCapacity)
    let key = Self.key(
      fingerprint, text, options, place.name, roundsToBFloat16: arithmetic.roundsToBFloat16)
    state = TrainingState(key: key)
    if let statePath,
      let found = try TrainingState.load(
        from: statePath, key: key, architecture: engine.model.architecture)
    {
      state = found.state
      stored = (found.file, found.steps)
      report.isResumed = true
    }
    secondsBefore = state.seconds
    report.trainingDocuments = self.text.training.count
    report.heldOutDocuments = self.text.heldOut.count
    report.spent.preparing = elapsed - secondsBefore
  }

  /// Everything that the result depends on, in one line.
  private static func key(
    _ fingerprint: String, _ text: EvaluationText, _ options: TrainingOptions,
    _ place: String, roundsToBFloat16: Bool
  ) -> String {
    var digest = SHA256()
    for document in text.documents {
      digest.update("\(document.count) ".utf8)
      digest.update(document)
    }
    let o = options
    return "\(fingerprint) \(digest.hexDigest()) \(o.axes.map(\.rawValue)) \(o.placement) "
      + "\(o.headPlacement) \(o.budget) \(o.rank ?? 0) \(o.bits) \(o.criterion) \(o.mass) "
      + "\(o.tokens ?? 0) \(o.seed) \(o.passes) \(o.learningRate) \(o.massPower) "
      + "\(o.sampleBytes) \(o.weightBytes) \(place) "
      + "\(roundsToBFloat16)"
  }

  /// Seconds spent on this training, in runs before included.
  var elapsed: Double { secondsBefore + (ContinuousClock.now - start) / .seconds(1) }

  /// Parts that are trained in turn; 1 where everything fits at once.
  package var groupCount: Int { plan.groups.count }

  /// Trains everything.
  ///
  /// - Parameters:
  ///   - progress: called a few times a second.
  ///   - isInterrupted: asked between windows; true stops, the state stored.
  /// - Returns: nil when it was interrupted.
  /// - Throws: ``TrainingError``, ``BackendError`` or ``CheckpointError``.
  package func run(
    progress: @escaping (TrainingProgress) -> Void = { _ in },
    isInterrupted: @escaping () -> Bool = { false }
  ) throws -> TrainingReport? {
    place.observe(recorder)
    defer {
      place.observe(nil)
      writer.wait()
    }
    let door = TrainingDoor(progress: progress, isInterrupted: isInterrupted)
    guard try timed(\.preparing, { try findThresholds(door) }) else { return nil }
    while state.group < plan.groups.count {
      let round = try timed(\.preparing) { try TrainingRounds(self, plan.groups[state.group]) }
      guard try round.run(door) else { return nil }
      state.group += 1
      (state.round, state.plannedTokens, state.stale) = (0, nil, 0)
      try timed(\.saving) { try save([]) }
    }
    finishReport()
    return report
  }

  /// Takes each layer's threshold from the first windows.
  private func findThresholds(_ door: TrainingDoor) throws -> Bool {
    var stream = windows(of: text.training)
    let session = try engine.makeSession(capacity: plan.window)
    recorder.count()
    defer { recorder.stop() }
    let count = (TrainingShape.thresholdTokens + plan.window - 1) / plan.window
    for index in 0..<count {
      if door.isInterrupted() { return false }
      door.progress(
        TrainingProgress(
          phase: "thresholds", tokens: index * plan.window, plannedTokens: count * plan.window,
          loss: 0, axis: nil, coveredMass: [], remainingSeconds: nil))
      try read(try stream.next(), session) { _ in }
    }
    for (key, histogram) in recorder.histograms {
      guard let threshold = histogram.threshold(options.mass) else {
        throw TrainingError.notFinite(layer: key.layer)
      }
      thresholds[key] = threshold
    }
    return true
  }

  func windows(of documents: [[UInt8]]) -> WindowStream {
    WindowStream(
      documents: documents, tokenizer: tokenizer, window: plan.window, seed: options.seed)
  }

  /// Reads one window, batch by batch; `before` is called with each batch's first token.
  func read(_ tokens: [TokenID], _ session: any Session, before: (Int) -> Void) throws {
    session.truncate(to: 0)
    for start in stride(from: 0, to: tokens.count, by: place.batchCapacity) {
      let end = min(start + place.batchCapacity, tokens.count)
      before(start)
      try session.run(tokens[start..<end], wanted: .none) { _, _ in }
    }
  }

  /// Runs `body`, and adds the seconds that it takes to those of a phase.
  func timed<Result>(
    _ phase: WritableKeyPath<TrainingSeconds, Double>, _ body: () throws -> Result
  ) rethrows -> Result {
    let start = ContinuousClock.now
    defer { report.spent[keyPath: phase] += (ContinuousClock.now - start) / .seconds(1) }
    return try body()
  }

  /// Stores the state, where it has a place.
  ///
  /// - Parameters:
  ///   - models: those of the group, settled.
  ///   - isBeside: returns while the disk still writes; models must stay as they are until the writer
  ///     has finished.
  /// - Throws: ``CheckpointError``, also of a state that was written beside.
  func save(_ models: [LowRankModel], isBeside: Bool = false) throws {
    guard let statePath else { return }
    try writer.finish()
    state.seconds = elapsed
    nonisolated(unsafe) let models = models
    let (state, steps) = (state, models.first?.steps ?? 0)
    writer.begin { () throws(CheckpointError) in
      try state.save(to: statePath, models: models, steps: steps)
    }
    if !isBeside { try writer.finish() }
    lastSave = .now
  }
}

/// What training tells the outside, and asks it.
struct TrainingDoor {
  let progress: (TrainingProgress) -> Void
  let isInterrupted: () -> Bool
}
