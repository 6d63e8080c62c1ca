import DejaVuCore
package import DejaVuModels

/// A run mode with what it needs: the answer to `--sparsity`.
package struct SparsityChoice: Sendable {
  package let mode: RunMode
  package let sparsity: Sparsity?
  /// Why this mode, in a few words, where the program chose it.
  package let reason: String?

  package init(mode: RunMode, sparsity: Sparsity? = nil, reason: String? = nil) {
    self.mode = mode
    self.sparsity = sparsity
    self.reason = reason
  }

  package static let dense = SparsityChoice(mode: .dense)
  package static let exact = SparsityChoice(mode: .exact)

  /// A plan by name.
  ///
  /// - Throws: ``PredictorError``, also when there is no plan of that name.
  package static func plan(
    _ name: String, model: LanguageModel, folder: String
  ) throws(PredictorError) -> SparsityChoice {
    guard let store = try SparsityStore.open(model: model.loaded, folder: folder) else {
      throw .unreadable(
        path: folder + "/" + PredictorFile.fileName, reason: "this model has no plans")
    }
    guard let plan = store.plan(named: name), let backend = model.engine.cpu else {
      let names = store.plans.map { "'\($0.name)'" }.joined(separator: ", ")
      throw .unreadable(
        path: store.path, reason: "it has no plan '\(name)', but \(names.isEmpty ? "none" : names)")
    }
    return SparsityChoice(mode: .sparse, sparsity: try store.resolve(plan, on: backend))
  }

  /// The fastest of dense, exact and the model's first plan, measured on a few real steps: never
  /// sparse where sparse is slower.
  ///
  /// - Throws: ``PredictorError`` for a damaged predictor file, ``BackendError``.
  package static func auto(model: LanguageModel, folder: String) throws -> SparsityChoice {
    var candidates = [SparsityChoice.dense, .exact]
    if let store = try SparsityStore.open(model: model.loaded, folder: folder),
      let plan = store.plans.first, let backend = model.engine.cpu
    {
      candidates.append(
        SparsityChoice(mode: .sparse, sparsity: try store.resolve(plan, on: backend)))
    }
    let times = try measure(candidates, engine: model.engine)
    guard let dense = times.first, let best = times.indices.min(by: { times[$0] < times[$1] })
    else { return .dense }
    // Dense has no error and no surprises: others must win by more than the clock's noise.
    guard times[best] < 0.97 * dense else {
      return SparsityChoice(mode: .dense, reason: "nothing was faster than dense here")
    }
    let chosen = candidates[best]
    let gain = (dense / times[best] * 100).rounded() / 100
    return SparsityChoice(
      mode: chosen.mode, sparsity: chosen.sparsity, reason: "\(gain) times dense, measured")
  }

  /// Median seconds per step of each candidate, steps taken in turn.
  private static func measure(
    _ candidates: [SparsityChoice], engine: Engine
  ) throws(BackendError) -> [Double] {
    let (rounds, warmUp) = (11, 3)
    var sessions: [any Session] = []
    for candidate in candidates {
      let session = try engine.makeSession(
        capacity: min(64, engine.model.architecture.context), sparsity: candidate.sparsity)
      session.mode = candidate.mode
      sessions.append(session)
    }
    var times = Array(repeating: [Double](), count: candidates.count)
    let clock = ContinuousClock()
    for round in 0..<(rounds + warmUp) {
      let token = TokenID(round * 37 % engine.model.architecture.vocabulary)
      for (index, session) in sessions.enumerated() {
        let start = clock.now
        _ = try session.decode(token)
        if round >= warmUp { times[index].append((clock.now - start) / .seconds(1)) }
      }
    }
    return times.map { $0.sorted()[rounds / 2] }
  }
}
