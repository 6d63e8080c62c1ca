import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Testing

/// What a plan costs, measured on plans whose cost is known.
struct PlanEvaluationTests {
  private let engine: Engine
  private let windows: [[TokenID]]

  init() throws {
    let golden = try #require(Golden.tiny.first { $0.name.contains("opt") })
    engine = try golden.engine(CPUOptions(threads: 2))
    let ids = try golden.cases().map(\.ids).max { $0.count < $1.count } ?? []
    let length = min(ids.count / 2, 20)
    windows = [Array(ids[..<length]), Array(ids[length..<2 * length])]
  }

  private func sparsity(_ neurons: RowPolicy) -> Sparsity {
    let layers = engine.model.architecture.layers
    return Sparsity(plan: .uniform("known", layers: layers, neurons: neurons))
  }

  @Test func `a plan of all rows does no damage, and one of a single row does`() throws {
    let probe = try SparseProbe(engine: engine, windows: windows, divergenceWindows: 1)
    let neurons = Int32(engine.model.architecture.neurons)
    let none = try probe.damage(of: sparsity(.fixed(Array(0..<neurons))))
    // The probe keeps dense losses in float32.
    #expect(abs(none.lossIncrease) < 1e-6 && abs(none.divergence) < 1e-6)
    #expect(none.tokens == windows.reduce(0) { $0 + $1.count - 1 })
    let one = try probe.damage(of: sparsity(.fixed([0])), windowCount: 1)
    #expect(one.divergence > 1e-6 && one.tokens == windows[0].count - 1)
    #expect(abs(one.perplexityIncrease) > 0)
  }

  @Test func `a comparison decodes the same tokens dense, exact and sparse`() throws {
    var progress: [Int] = []
    let runs = try PlanEvaluation(engine: engine, sparsity: sparsity(.fixed([0, 1]))).run(
      windows: windows
    ) { done, _ in progress.append(done) }
    let tokens = windows.reduce(0) { $0 + $1.count - 1 }
    #expect(runs.map(\.mode) == [.dense, .exact, .sparse])
    #expect(progress.last == 3 * tokens)
    for run in runs {
      #expect(run.tokens == tokens && run.milliseconds.count == tokens)
      #expect(run.tally.tokens == tokens && run.losses.count == windows.count)
    }
    #expect(runs[1].losses == runs[0].losses && runs[0].agreements == tokens)
    #expect(runs[2].losses != runs[0].losses)
    let share = 2 / Double(engine.model.architecture.neurons)
    #expect(abs(runs[2].tally.neuronDensity - share) < 1e-9)
    for (index, window) in windows.enumerated() {
      let session = try engine.makeSession(capacity: window.count)
      let scores = try session.scores(of: window, path: .decode)
      for (loss, score) in zip(runs[0].losses[index], scores) {
        #expect(abs(loss + score.logProbability) < 1e-5)
      }
    }
  }

  @Test func `both paths find how far a plan's distributions are from the dense ones`() throws {
    let neurons = Int32(engine.model.architecture.neurons)
    let subjects = [
      ComparedSubject("all", sparsity: sparsity(.fixed(Array(0..<neurons)))),
      ComparedSubject("two", sparsity: sparsity(.fixed([0, 1]))),
    ]
    let runs = try [ScoringPath.prompt, .decode].map { path in
      try PlanEvaluation(engine: engine, subjects: subjects, path: path).run(windows: windows) {
        _, _ in
      }
    }
    let probe = try SparseProbe(engine: engine, windows: windows, divergenceWindows: 2)
    let expected = try probe.damage(of: sparsity(.fixed([0, 1]))).divergence
    for runs in runs {
      #expect(runs[0].divergence == 0 && runs[0].agreement == 1)
      #expect(abs(runs[1].divergence) < 1e-6 && runs[1].agreement == 1)
      #expect(runs[2].divergence > 1e-6 && abs(runs[2].divergence - expected) < 1e-5)
      let row = ComparedRow(runs[2], against: runs[0])
      #expect(row.divergence.value == Figure(small: runs[2].divergence).value)
    }
    // Batches have no time of a token.
    #expect(runs[0].allSatisfy { $0.milliseconds.isEmpty })
    #expect(ComparedRow(runs[0][2], against: runs[0][0]).tokensPerSecond.value == nil)
    for (prompt, decoded) in zip(runs[0], runs[1]) {
      #expect(prompt.greatestDifference(to: decoded) <= 1e-3)
    }
  }
}
