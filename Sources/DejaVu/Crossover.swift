package import DejaVuCore
package import DejaVuModels

/// Seconds of a decode step by mode on one machine: what `auto` decides by.
package struct Crossover: Hashable, Sendable {
  package let dense: Double
  package let exact: Double
  /// Under the plan; nil where there is none.
  package let sparse: Double?

  package init(dense: Double, exact: Double, sparse: Double?) {
    self.dense = dense
    self.exact = exact
    self.sparse = sparse
  }

  /// The mode to take, and how many times as fast as dense it is.
  ///
  /// Dense has no surprises: others must win by more than the clock's noise, so that a choice does
  /// not run below 0.97 of dense even where the measurement was lucky.
  package var fastest: (mode: RunMode, gain: Double) {
    var best = (mode: RunMode.exact, seconds: exact)
    if let sparse, sparse < exact { best = (.sparse, sparse) }
    return best.seconds < 0.97 * dense ? (best.mode, dense / best.seconds) : (.dense, 1)
  }

  /// Medians of decode steps taken in turn, so that a drift of the machine meets all modes alike.
  ///
  /// - Parameters:
  ///   - sparsity: the plan; nil measures dense and exact only.
  ///   - engine: the model.
  /// - Returns: seconds per step.
  /// - Throws: ``BackendError``.
  /// - Complexity: 16 to 96 steps of each mode; about a second for models that allow it.
  package static func measure(
    _ sparsity: Sparsity?, engine: Engine
  ) throws(BackendError) -> Crossover {
    let (fewest, most, warmUp) = (16, 96, 4)
    let architecture = engine.model.architecture
    var sessions: [any Session] = []
    let modes: [RunMode] = sparsity == nil ? [.dense, .exact] : [.dense, .exact, .sparse]
    for mode in modes {
      sessions.append(
        try engine.makeSession(
          capacity: min(warmUp + most, architecture.context), mode: mode, sparsity: sparsity))
    }
    var times = modes.map { _ in [Double]() }
    let clock = ContinuousClock()
    let start = clock.now
    for round in 0..<(warmUp + most) {
      if round >= warmUp + fewest, clock.now - start > .seconds(1) { break }
      let token = TokenID(round * 37 % architecture.vocabulary)
      for (index, session) in sessions.enumerated() {
        if session.count == session.capacity { session.truncate(to: 0) }
        let before = clock.now
        _ = try session.decode(token)
        if round >= warmUp { times[index].append((clock.now - before) / .seconds(1)) }
      }
    }
    let medians = times.map { $0.sorted()[$0.count / 2] }
    return Crossover(
      dense: medians[0], exact: medians[1], sparse: sparsity == nil ? nil : medians[2])
  }
}
