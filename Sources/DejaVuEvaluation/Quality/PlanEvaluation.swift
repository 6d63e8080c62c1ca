package import DejaVu
package import DejaVuCore
package import DejaVuModels

/// One run of a comparison: its losses, its speed and its bytes, from the same steps.
package struct ComparedRun: Sendable {
  package let mode: RunMode
  /// Loss of every scored token, window by window.
  package var losses: [[Double]] = []
  /// Milliseconds of every decode step.
  package var milliseconds: [Double] = []
  package var tally = Tally()
  /// Greedy choices equal to the dense run's.
  package var agreements = 0

  package init(mode: RunMode) { self.mode = mode }

  package var tokens: Int { losses.reduce(0) { $0 + $1.count } }
  package var meanLoss: Double {
    losses.joined().reduce(0, +) / Double(max(tokens, 1))
  }
  package var tokensPerSecond: Double {
    let total = milliseconds.reduce(0, +)
    return total > 0 ? Double(milliseconds.count) * 1000 / total : 0
  }
  package var medianMilliseconds: Double { Statistics.median(milliseconds) }
  package var p95Milliseconds: Double { Statistics.percentile(milliseconds, 0.95) }
  package var bytesPerToken: Double { Double(tally.bytes) / Double(max(tally.tokens, 1)) }
  /// Bytes of MLP weights and choosers per token.
  package var mlpBytesPerToken: Double {
    Double(tally.mlpWeights + tally.chooser) / Double(max(tally.tokens, 1))
  }

  /// Mean paired difference of loss to `other`, and its standard error over windows.
  package func difference(to other: ComparedRun) -> (mean: Double, standardError: Double) {
    let perWindow = zip(losses, other.losses).map { mine, theirs in
      zip(mine, theirs).reduce(0) { $0 + $1.0 - $1.1 } / Double(max(mine.count, 1))
    }
    let count = Double(max(perWindow.count, 1))
    let mean = perWindow.reduce(0, +) / count
    let squares = perWindow.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    let deviation = count > 1 ? (squares / (count - 1)).squareRoot() : 0
    return (mean, deviation / count.squareRoot())
  }
}

/// Quality and speed of a plan from the same decode steps: dense, exact and sparse, interleaved
/// piece by piece over the same tokens, with real choosers and real deferred keys.
package struct PlanEvaluation {
  private let engine: Engine
  private let sparsity: Sparsity
  /// Tokens that one mode decodes before the next has its turn.
  private let turn = 64

  package init(engine: Engine, sparsity: Sparsity) {
    self.engine = engine
    self.sparsity = sparsity
  }

  /// Decodes every window in every mode.
  ///
  /// - Parameters:
  ///   - windows: tokens of each window, a first token included.
  ///   - progress: called with the tokens done and their total, now and then.
  /// - Returns: the dense, the exact and the sparse run.
  /// - Throws: ``BackendError``.
  package func run(
    windows: [[TokenID]], progress: (Int, Int) -> Void
  ) throws(BackendError) -> [ComparedRun] {
    let modes: [RunMode] = [.dense, .exact, .sparse]
    var runs = modes.map { ComparedRun(mode: $0) }
    let total = windows.reduce(0) { $0 + $1.count - 1 }
    var done = 0
    for window in windows {
      var sessions: [any Session] = []
      for mode in modes {
        sessions.append(
          try engine.makeSession(capacity: window.count, mode: mode, sparsity: sparsity))
      }
      for index in runs.indices { runs[index].losses.append([]) }
      var choices = [Int](repeating: 0, count: window.count)
      for start in stride(from: 1, to: window.count, by: turn) {
        let part = start..<min(start + turn, window.count)
        for index in runs.indices {
          try decode(part, of: window, sessions[index], &runs[index], &choices)
        }
        done += part.count
        progress(done, total)
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
