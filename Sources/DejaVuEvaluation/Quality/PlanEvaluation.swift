package import DejaVu
package import DejaVuCore
package import DejaVuModels

/// Quality of several ways to choose rows, against dense, on the same tokens.
///
/// Through decode their speed comes from the same steps, interleaved piece by piece, with real choosers
/// and real deferred keys; through the prompt path every token of a batch gets its own set.
package struct PlanEvaluation {
  private let engine: Engine
  private let subjects: [ComparedSubject]
  private let path: ScoringPath

  /// Dense, exact, and a plan.
  package init(engine: Engine, sparsity: Sparsity) {
    self.init(
      engine: engine, subjects: [.exact, ComparedSubject("sparse", sparsity: sparsity)])
  }

  /// Dense, whether asked for or not, and then the others.
  package init(engine: Engine, subjects: [ComparedSubject], path: ScoringPath = .decode) {
    self.engine = engine
    self.subjects = [.dense] + subjects.filter { $0.mode != .dense }
    self.path = path
  }

  /// Reads every window in every way.
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
      let turn = ForetoldTokens.turn(sessions[0], path: path)
      for start in stride(from: 1, to: window.count, by: turn) {
        let part = start..<min(start + turn, window.count)
        var dense = ForetoldTokens()
        for index in runs.indices {
          try read(part, of: window, sessions[index], &runs[index], &dense)
          done += part.count
          progress(done, total)
        }
      }
    }
    return runs
  }

  private func read(
    _ part: Range<Int>, of window: [TokenID], _ session: any Session, _ run: inout ComparedRun,
    _ dense: inout ForetoldTokens
  ) throws(BackendError) {
    session.tally = Tally()
    let isDense = run.mode == .dense
    func note(_ index: Int, _ logits: UnsafeBufferPointer<Float>) {
      let normalizer = logSumExp(logits)
      run.losses[run.losses.count - 1].append(normalizer - Double(logits[Int(window[index])]))
      if isDense {
        dense.append(logits)
        run.agreements += 1
      } else {
        let found = dense.compare(logits, normalizer, at: index - part.lowerBound)
        run.divergences += found.divergence
        if found.isSameChoice { run.agreements += 1 }
      }
    }
    switch path {
    case .prompt:
      try session.run(window[part.lowerBound - 1..<part.upperBound - 1], wanted: .all) {
        note(part.lowerBound + $0, $1)
      }
    case .decode:
      let clock = ContinuousClock()
      for index in part {
        let start = clock.now
        let logits = try session.decode(window[index - 1])
        run.milliseconds.append((clock.now - start).milliseconds)
        note(index, logits)
      }
    }
    run.tally = run.tally + session.tally
  }
}

/// What a dense run foretold for a few tokens, for others to be held against.
struct ForetoldTokens {
  private var positions: [ReferenceRun.Position] = []
  private var choices: [Int] = []
  /// Bytes that distributions over the vocabulary may take.
  private static let memory = 1 << 27

  /// Tokens that one run reads before the next has its turn: few through decode, so that both meet the
  /// same machine, and a batch of a prompt where there is memory for its distributions.
  static func turn(_ session: any Session, path: ScoringPath) -> Int {
    guard path == .prompt else { return 64 }
    let perToken = 4 * session.architecture.vocabulary
    return min(session.batchCapacity, max(16, memory / perToken))
  }

  mutating func append(_ logits: UnsafeBufferPointer<Float>) {
    positions.append(.init(logits))
    choices.append(argmax(logits))
  }

  /// - Parameters:
  ///   - logits: of another run for the same token.
  ///   - normalizer: their ``logSumExp(_:)``.
  ///   - index: which token.
  /// - Returns: nats, and whether the likeliest token is the same.
  func compare(
    _ logits: UnsafeBufferPointer<Float>, _ normalizer: Double, at index: Int
  ) -> (divergence: Double, isSameChoice: Bool) {
    (
      positions[index].divergence(logits, normalizer: normalizer),
      choices[index] == argmax(logits)
    )
  }
}
