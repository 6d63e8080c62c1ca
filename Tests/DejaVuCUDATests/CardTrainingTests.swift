import DejaVu
import DejaVuCPU
import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import DejaVuTraining
import Testing

/// What is shown, as plain arrays.
private final class Shown: StepObserver {
  struct Site: Hashable {
    let site: StepSite
    let layer: Int
  }
  let architecture: Architecture
  let unwanted: StepSite?
  var rows: [Site: [[Float]]] = [:]

  init(_ architecture: Architecture, without unwanted: StepSite? = nil) {
    self.architecture = architecture
    self.unwanted = unwanted
  }

  func wants(_ site: StepSite, layer: Int) -> Bool { site != unwanted }

  func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    let width =
      switch site {
      case .attentionInput, .mlpInput, .output: architecture.hidden
      case .activations: architecture.neurons
      case .context: architecture.heads * architecture.headWidth
      }
    rows[Site(site: site, layer: layer), default: []] += (0..<tokens).map { t in
      (0..<width).map { values[t * stride + $0] }
    }
  }
}

struct CardTrainingTests {
  private let tokens: [TokenID] = (0..<24).map { TokenID($0 * 13 % 250) }

  private func shown(_ engine: Engine, without unwanted: StepSite? = nil) throws -> Shown {
    let shown = Shown(engine.model.architecture, without: unwanted)
    engine.cpu?.observer = shown
    engine.cuda?.observer = shown
    let session = try engine.makeSession(capacity: 32)
    try session.run(tokens[..<16], wanted: .none) { _, _ in }
    try session.run(tokens[16...], wanted: .last) { _, _ in }
    return shown
  }

  private func card(_ model: PackedModel) throws -> Engine {
    Engine(
      model: model,
      card: try TestCard.backend(model, CUDAOptions(cacheType: .float32, batchCapacity: 64)))
  }

  @Test(arguments: [TinyModel.opt, .llamaGrouped, .gpt2, .bloom, .olmo])
  func `a card shows what the processor shows`(tiny: TinyModel) throws {
    let model = tiny.model()
    let mine = try shown(try card(model))
    let theirs = try shown(
      try Engine(
        model: model,
        backend: .cpu(CPUOptions(threads: 2, cacheType: .float32, batchCapacity: 64))))
    #expect(Set(mine.rows.keys) == Set(theirs.rows.keys))
    for (site, rows) in theirs.rows {
      let found = try #require(mine.rows[site])
      #expect(found.count == tokens.count)
      for (a, b) in zip(found, rows) {
        let most = b.map(abs).max() ?? 0
        #expect(zip(a, b).allSatisfy { abs($0 - $1) <= 1e-3 * most + 1e-5 })
      }
    }
  }

  @Test func `what nobody wants is not shown`() throws {
    let all = try shown(try card(TinyModel.opt.model()))
    let some = try shown(try card(TinyModel.opt.model()), without: .activations)
    #expect(some.rows.count == all.rows.count - all.architecture.layers)
    #expect(some.rows.keys.allSatisfy { $0.site != .activations })
  }

  // Steps -----------------------------------------------------------------------------------------

  private let hidden = 40
  private let rows = 72
  private let rank = 64
  private let batch = 48

  private func site() -> TrainingSite {
    TrainingSite(
      site: PredictorSite(axis: .neurons, layer: 0, placement: .afterAttention), rank: rank,
      rows: rows, stream: 0)
  }

  private func model(_ random: inout SeededRandom) -> LowRankModel {
    let model = LowRankModel(rank: rank, hidden: hidden, rows: rows)
    for i in 0..<rank {
      for j in 0..<hidden { model.a[i * model.width + j] = 0.2 * random.unit() }
      for j in 0..<rows { model.b[i * model.paddedRows + j] = 0.2 * random.unit() }
    }
    for j in 0..<rows { model.bias[j] = 0.2 * random.unit() }
    return model
  }

  private func fill(_ trainer: any PredictorTrainer, _ random: inout SeededRandom) {
    for t in 0..<batch {
      let x = random.units(hidden)
      for i in 0..<hidden { trainer.stream(t)[i] = x[i] }
      for row in 0..<rows {
        trainer.codes[t * rows + row] = ContributionCode.code(abs(x[row % hidden]) * 2)
      }
    }
  }

  private func onCard() throws -> CardTrainer {
    try CardTrainer(
      try TestCard.backend(TinyModel.opt.model()), sites: [site()], hidden: hidden, batch: batch)
  }

  private func onHost() throws -> LowRankTrainer {
    LowRankTrainer(
      arithmetic: DenseArithmetic(
        team: try ThreadTeam(threads: 2), kernels: try #require(InstructionSet.best.table)),
      sites: [site()], hidden: hidden, batch: batch)
  }

  @Test(arguments: [Float(0), 1])
  func `the card's gradient is the processor's`(massPower: Float) throws {
    var (first, second) = (SeededRandom(seed: 3), SeededRandom(seed: 3))
    let (card, host) = (try onCard(), try onHost())
    fill(card, &first)
    fill(host, &second)
    let (mine, theirs) = (model(&first), model(&second))
    let weights = RowWeights(positive: ContributionCode.threshold, massPower: massPower)
    let found = card.gradient(mine, tokens: batch, weights: weights)
    host.forward(theirs, tokens: batch)
    let loss = host.backward(theirs, tokens: batch, weights: weights)
    #expect(abs(found.loss - loss) < 1e-5)
    let expected = (0..<theirs.count).map { host.gradients[$0] }
    let most = expected.map(abs).max() ?? 0
    #expect(most > 1e-4 && found.values.count == expected.count)
    #expect(zip(found.values, expected).allSatisfy { abs($0 - $1) < 1e-4 * most })
  }

  @Test func `steps on the card are the processor's, and the same each time`() throws {
    var trained: [[Float]] = []
    for place in 0..<3 {
      var random = SeededRandom(seed: 5)
      let trainer: any PredictorTrainer = place == 0 ? try onHost() : try onCard()
      let model = model(&random)
      for _ in 0..<4 {
        fill(trainer, &random)
        _ = trainer.step(
          model, tokens: batch,
          weights: RowWeights(positive: ContributionCode.threshold, massPower: 0),
          learningRate: 0.01)
      }
      #expect(model.steps == 4)
      try trainer.settle(model)
      trained.append((0..<model.count).map { model.values.base[$0] })
      // A visitor's logits are those of what was settled.
      let copy = LowRankModel(rank: rank, hidden: hidden, rows: rows)
      copy.values.base.update(from: model.values.base, count: model.count)
      trainer.forward(model, tokens: batch)
      let own = (0..<rows).map { trainer.scores(batch - 1)[$0] }
      trainer.forward(copy, tokens: batch)
      #expect((0..<rows).map { trainer.scores(batch - 1)[$0] } == own)
    }
    #expect(trained[1] == trained[2])
    let moved = zip(trained[0], trained[1]).map { abs($0 - $1) }.max() ?? 1
    // AdamW's first steps have the gradient's sign: rounding alone must not turn one.
    #expect(moved < 2e-3)
  }
}
