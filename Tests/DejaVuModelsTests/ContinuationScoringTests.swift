import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Testing

/// Scores of continuations are the losses of the same tokens, however the texts are read.
struct ContinuationScoringTests {
  private let model: LanguageModel
  private let ids: [TokenID]

  init() throws {
    let cpu = CPUOptions(threads: 2, cacheType: .float32, multipliesPromptInBFloat16: false)
    model = try LanguageModel(path: Golden.defaultModel.modelFolder, backend: .cpu(cpu))
    ids = try Golden.defaultModel.cases().map(\.ids).max { $0.count < $1.count } ?? []
  }

  private func session(_ mode: RunMode = .dense) throws -> any Session {
    let layers = model.architecture.layers
    let plan = SparsityPlan.uniform(
      "half", layers: layers, heads: .fixed([0, 2]), neurons: .fixed(Array(0..<700)))
    return try model.engine.makeSession(
      capacity: 64, mode: mode, sparsity: Sparsity(plan: plan))
  }

  /// Two endings of one context, and a text of which only two tokens are shared.
  private var texts: [ScoredText] {
    let context = Array(ids[..<12])
    return [
      ScoredText(tokens: context + ids[12..<20], first: 12),
      ScoredText(tokens: context + ids[30..<33], first: 12),
      ScoredText(tokens: Array(ids[..<2] + ids[20..<30]), first: 9),
    ]
  }

  @Test(arguments: ScoringPath.allCases, [RunMode.dense, .sparse])
  func `a shared beginning changes no score`(path: ScoringPath, mode: RunMode) throws {
    let together = try session(mode)
    let scores = try together.scores(endsOf: texts, path: path)
    #expect(together.count == 0 && together.mode == mode)
    for (text, found) in zip(texts, scores) {
      let alone = try session(mode).scores(of: text.tokens, from: text.first, path: path)
      try #require(alone.count == found.count && found.count == text.tokens.count - text.first)
      for (one, other) in zip(alone, found) {
        #expect(one.token == other.token && one.isGreedy == other.isGreedy)
        #expect(abs(one.logProbability - other.logProbability) < 1e-5)
      }
    }
  }

  @Test func `a continuation costs what perplexity says of its tokens`() throws {
    let text = ScoredText(tokens: Array(ids[..<24]), first: 1)
    let scores = try #require(try session().scores(endsOf: [text]).first)
    let runs = try PlanEvaluation(engine: model.engine, subjects: []).run(
      windows: [text.tokens]
    ) { _, _ in }
    for (score, loss) in zip(scores, runs[0].losses[0]) {
      #expect(abs(score.logProbability + loss) < 1e-4)
    }
    let sum = ContinuationScore(scores)
    #expect(abs(sum.logProbability + runs[0].losses[0].reduce(0, +)) < 1e-3)
    #expect(sum.tokens == 23 && !sum.isGreedy)
  }

  @Test func `behind a dense context the first token is scored densely and the others sparsely`()
    throws
  {
    let dense = try session().scores(endsOf: texts)
    let everywhere = try session(.sparse).scores(endsOf: texts)
    for path in ScoringPath.allCases {
      let session = try session(.sparse)
      let deployed = try session.scores(endsOf: texts, path: path, positions: .continuation)
      #expect(session.mode == .sparse && session.count == 0)
      for (index, scores) in deployed.enumerated() {
        #expect(scores.map(\.token) == dense[index].map(\.token))
        #expect(abs(scores[0].logProbability - dense[index][0].logProbability) < 1e-5)
        for place in 1..<scores.count {
          #expect(abs(scores[place].logProbability - dense[index][place].logProbability) > 1e-5)
          #expect(
            abs(scores[place].logProbability - everywhere[index][place].logProbability) > 1e-5)
        }
      }
    }
  }
}
