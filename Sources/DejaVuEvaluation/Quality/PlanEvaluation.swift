package import DejaVu
package import DejaVuCore
package import DejaVuModels

/// Quality and speed of several ways to choose rows from the same decode steps: interleaved piece
/// by piece over the same tokens, with real choosers and real deferred keys.
package struct PlanEvaluation {
  private let engine: Engine
  private let subjects: [ComparedSubject]
  /// Tokens that one subject decodes before the next has its turn.
  private let turn = 64

  /// Dense, exact, and a plan.
  package init(engine: Engine, sparsity: Sparsity) {
    self.init(
      engine: engine, subjects: [.exact, ComparedSubject("sparse", sparsity: sparsity)])
  }

  /// Dense, whether asked for or not, and then the others.
  package init(engine: Engine, subjects: [ComparedSubject]) {
    self.engine = engine
    self.subjects = [.dense] + subjects.filter { $0.mode != .dense }
  }

  /// Decodes every window in every way.
  ///
  /// - Parameters:
  ///   - windows: tokens of each window, a first token included.
  ///   - progress: called with the tokens done and their total, over all subjects.
  /// - Returns: a run for each subject, the dense one first.
  /// - Throws: ``BackendError``.
  package func run(
    windows: [[TokenID]], progress: (Int, Int) -> Void
  ) throws(BackendError) -> [ComparedRun] {
    var runs = subjects.map { ComparedRun(mode: $0.mode, name: $0.name) }
    let total = windows.reduce(0) { $0 + $1.count - 1 } * subjects.count
    var done = 0
    for window in windows {
      var sessions: [any Session] = []
      for subject in subjects {
        sessions.append(
          try engine.makeSession(
            capacity: window.count, mode: subject.mode, sparsity: subject.sparsity,
            defersKeys: subject.defersKeys))
      }
      for index in runs.indices { runs[index].losses.append([]) }
      var choices = [Int](repeating: 0, count: window.count)
      for start in stride(from: 1, to: window.count, by: turn) {
        let part = start..<min(start + turn, window.count)
        for index in runs.indices {
          try decode(part, of: window, sessions[index], &runs[index], &choices)
          done += part.count
          progress(done, total)
        }
      }
    }
    return runs
  }

  private func decode(
    _ part: Range<Int>, of window: [TokenID], _ session: any Session, _ run: inout ComparedRun,
    _ choices: inout [Int]
  ) throws(BackendError) {
    session.tally = Tally()
    let clock = ContinuousClock()
    for index in part {
      let start = clock.now
      let logits = try session.decode(window[index - 1])
      run.milliseconds.append((clock.now - start).milliseconds)
      let loss = logSumExp(logits) - Double(logits[Int(window[index])])
      run.losses[run.losses.count - 1].append(loss)
      let choice = argmax(logits)
      if run.mode == .dense { choices[index] = choice }
      if choices[index] == choice { run.agreements += 1 }
    }
    run.tally = run.tally + session.tally
  }
}
