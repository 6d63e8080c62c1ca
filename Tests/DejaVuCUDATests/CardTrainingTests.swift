import CDejaVuCUDA
import CDejaVuEmulation
import DejaVu
import DejaVuCPU
import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import DejaVuTraining
import Foundation
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

  private func card(_ model: PackedModel, multiplies: Bool = false) throws -> Engine {
    let options = CUDAOptions(cacheType: .float32, batchCapacity: 64)
    return Engine(
      model: model, card: try TestCard.backend(model, options, multiplies: multiplies))
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
  /// A logit lies behind two products, four factors of TF32, each off by 2^-10; where logits are about 1
  /// so is the loss, which moves by no more than they do.
  private let logitError = 0x1p-8

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

  private func onCard(
    multiplies: Bool = false, products: ProductLibrary? = nil
  ) throws -> CardTrainer {
    let backend = try TestCard.backend(
      TinyModel.opt.model(), multiplies: multiplies, products: products)
    return try CardTrainer(backend, sites: [site()], hidden: hidden, batch: batch)
  }

  private func onHost() throws -> LowRankTrainer {
    LowRankTrainer(
      arithmetic: DenseArithmetic(
        team: try ThreadTeam(threads: 2), kernels: try #require(InstructionSet.best.table)),
      sites: [site()], hidden: hidden, batch: batch)
  }

  /// One minibatch's gradient on the card and on the processor, and what factors of TF32 may do to it.
  ///
  /// A lane may be off by eight standard deviations of independent errors. Rounded factors come to three;
  /// where bits are cut off all errors pull towards zero, and come to six of those of 2^-10.
  private struct Gradients {
    let found: [Float]
    let expected: [Float]
    let variances: [Double]
    var bounds: [Double] { variances.map { 8 * $0.squareRoot() } }
    var most: Double { Double(expected.map(abs).max() ?? 0) }
    var errors: [Double] { zip(found, expected).map { abs(Double($0) - Double($1)) } }
  }

  private func gradients(multiplies: Bool, massPower: Float) throws -> Gradients {
    var (first, second) = (SeededRandom(seed: 3), SeededRandom(seed: 3))
    let (card, host) = (try onCard(multiplies: multiplies), try onHost())
    fill(card, &first)
    fill(host, &second)
    let (mine, theirs) = (model(&first), model(&second))
    let weights = RowWeights(positive: ContributionCode.threshold, massPower: massPower)
    let found = card.gradient(mine, tokens: batch, weights: weights)
    try card.settle(mine)
    host.forward(theirs, tokens: batch)
    let loss = host.backward(theirs, tokens: batch, weights: weights)
    #expect(abs(found.loss - loss) < (multiplies ? logitError * loss : 1e-5))
    #expect(found.values.count == theirs.count)
    return Gradients(
      found: found.values, expected: (0..<theirs.count).map { host.gradients[$0] },
      variances: variances(theirs, host, weights))
  }

  /// How factors of TF32 scatter the gradient: H = X Aᵀ and Z = H B, hence G = w · (σ(Z) − y), of
  /// which the bias gets the sums, Hᵀ G and (G Bᵀ)ᵀ X.
  private func variances(
    _ model: LowRankModel, _ host: LowRankTrainer, _ weights: RowWeights
  ) -> [Double] {
    func matrix(_ base: UnsafePointer<Float>, rows: Int, columns: Int) -> UncertainMatrix {
      UncertainMatrix(
        (0..<rows).map { row in (0..<columns).map { Double(base[row * columns + $0]) } })
    }
    let x = matrix(host.x.base, rows: batch, columns: model.width)
    let b = matrix(model.b, rows: rank, columns: model.paddedRows)
    let h = x * matrix(model.a, rows: rank, columns: model.width).turned
    var g = h * b
    var counts = [Int](repeating: 0, count: 256)
    for i in 0..<batch * rows { counts[Int(host.codes[i])] += 1 }
    let table = weights.table(counts: counts)
    for t in 0..<batch {
      for row in 0..<model.paddedRows {
        let code = row < rows ? host.codes[t * rows + row] : 0
        let weight = row < rows ? Double(table[Int(code)]) : 0
        let z = g.values[t][row] + Double(model.bias[row])
        g.values[t][row] = weight * (1 / (1 + exp(-z)) - (code >= weights.positive ? 1 : 0))
        // σ is nowhere steeper than 1 / 4.
        g.variances[t][row] *= weight * weight / 16
      }
    }
    let ofA = (g * b.turned).turned * x
    let ofBias = (0..<model.paddedRows).map { row in g.variances.map { $0[row] }.reduce(0, +) }
    return ofA.variances.flatMap { $0 } + (h.turned * g).variances.flatMap { $0 } + ofBias
  }

  @Test(arguments: [Float(0), 1])
  func `the card's gradient is the processor's`(massPower: Float) throws {
    let gradients = try gradients(multiplies: false, massPower: massPower)
    let most = gradients.most
    #expect(most > 1e-4 && gradients.errors.allSatisfy { $0 < 1e-4 * most })
  }

  @Test(arguments: [Float(0), 1])
  func `the library's gradient is the processor's but for factors of TF32`(
    massPower: Float
  ) throws {
    let gradients = try gradients(multiplies: true, massPower: massPower)
    let (most, errors) = (gradients.most, gradients.errors)
    // Beside them 1e-6 for what is float32 on either side.
    #expect(zip(errors, gradients.bounds).allSatisfy { $0 <= $1 + 1e-6 * most })
    #expect((gradients.bounds.max() ?? 1) < 8e-3 * most)
    #expect((errors.max() ?? 0) > 1e-5 * most, "factors are rounded")
  }

  /// Values after four steps, and the loss before the last one.
  private func trained(by trainer: any PredictorTrainer) throws -> (values: [Float], loss: Double) {
    var random = SeededRandom(seed: 5)
    let model = model(&random)
    var loss = 0.0
    for _ in 0..<4 {
      fill(trainer, &random)
      loss = trainer.step(
        model, tokens: batch,
        weights: RowWeights(positive: ContributionCode.threshold, massPower: 0),
        learningRate: 0.01)
    }
    #expect(model.steps == 4)
    try trainer.settle(model)
    // A visitor's logits are those of what was settled.
    let copy = LowRankModel(rank: rank, hidden: hidden, rows: rows)
    copy.values.base.update(from: model.values.base, count: model.count)
    trainer.forward(model, tokens: batch)
    let own = (0..<rows).map { trainer.scores(batch - 1)[$0] }
    trainer.forward(copy, tokens: batch)
    #expect((0..<rows).map { trainer.scores(batch - 1)[$0] } == own)
    return ((0..<model.count).map { model.values.base[$0] }, loss)
  }

  @Test
  func `the card's values come without moments, and a model on the host stays as it was`() throws {
    let trainer = try onCard()
    var random = SeededRandom(seed: 6)
    let model = model(&random)
    func values(_ model: LowRankModel) -> [Float] {
      (0..<model.count).map { model.values.base[$0] }
    }
    let before = values(model)
    let weights = RowWeights(positive: ContributionCode.threshold, massPower: 0)
    func step() {
      fill(trainer, &random)
      _ = trainer.step(model, tokens: batch, weights: weights, learningRate: 0.01)
    }
    step()
    let visitor = try trainer.makeVisitor(for: site(), hidden: hidden)
    #expect(try trainer.latest(model, in: visitor) === visitor)
    #expect(values(model) == before && trainer.leavesModels)
    #expect((0..<model.count).allSatisfy { model.first.base[$0] == 0 })
    let once = values(visitor)
    try trainer.settle(model)
    #expect(values(model) == once && once != before)
    #expect((0..<model.count).contains { model.first.base[$0] != 0 })
    step()
    _ = try trainer.latest(model, in: visitor)
    #expect(values(visitor) != once)
    // A visitor is what it was last said to be, from whatever steps came between.
    trainer.forward(visitor, tokens: batch)
    let full = (0..<rows).map { trainer.scores(0)[$0] }
    for i in 0..<model.count { visitor.values.base[i] = 0 }
    trainer.reload(visitor)
    trainer.forward(visitor, tokens: batch)
    #expect((0..<rows).allSatisfy { trainer.scores(0)[$0] == 0 } && full.contains { $0 != 0 })
  }

  @Test func `steps go on on a card from what another one has settled`() throws {
    let weights = RowWeights(positive: ContributionCode.threshold, massPower: 0)
    func take(_ steps: Range<Int>, by trainer: CardTrainer, _ model: LowRankModel) throws {
      for step in steps {
        var random = SeededRandom(seed: 20 + UInt64(step))
        fill(trainer, &random)
        _ = trainer.step(model, tokens: batch, weights: weights, learningRate: 0.01)
      }
      try trainer.settle(model)
    }
    var (first, second) = (SeededRandom(seed: 9), SeededRandom(seed: 9))
    let (whole, parted) = (model(&first), model(&second))
    try take(0..<4, by: try onCard(), whole)
    try take(0..<2, by: try onCard(), parted)
    try take(2..<4, by: try onCard(), parted)
    for part in [\LowRankModel.values, \.first, \.second] {
      let (a, b) = (whole[keyPath: part].base, parted[keyPath: part].base)
      #expect((0..<whole.count).allSatisfy { a[$0] == b[$0] })
    }
  }

  @Test func `steps on the card are the processor's, and the same each time`() throws {
    let host = try trained(by: onHost()).values
    let card = try trained(by: onCard()).values
    #expect(try trained(by: onCard()).values == card)
    let moved = zip(host, card).map { abs($0 - $1) }.max() ?? 1
    // AdamW's first steps have the gradient's sign: rounding alone must not turn one.
    #expect(moved < 2e-3)
  }

  @Test
  func `steps by the library are the same each time, and as good as the processor's`() throws {
    let (own, host) = (try trained(by: onCard()), try trained(by: onHost()))
    let library = try trained(by: onCard(multiplies: true))
    #expect(try trained(by: onCard(multiplies: true)).values == library.values)
    #expect(own.values != library.values, "the library is used")
    // A lane whose gradient is next to nothing may go either way, which the loss does not see.
    #expect(abs(library.loss - host.loss) < logitError * host.loss)
  }

  @Test(.enabled(if: !TestCard.isReal, "a real library refuses nothing"))
  func `a training product that the library refuses ends the training`() throws {
    var functions = dejavu_blaslt()
    dejavu_emulated_products(&functions)
    functions.propose = { _, _, _, _, _, _, _, _, _, _ in 15 }
    let trainer = try onCard(products: ProductLibrary(functions: functions, path: "refusing"))
    do {
      _ = try trained(by: trainer)
      Issue.record("nothing was refused")
    } catch {
      #expect("\(error)".contains("DEJAVU_CUBLASLT=off"), "\(error)")
    }
  }

  @Test func `a training's place says what multiplies`() throws {
    let names = try [false, true].map {
      try TrainingPlace(try card(TinyModel.opt.model(), multiplies: $0)).name
    }
    #expect(names[0].hasSuffix(" 64 own kernels"), "\(names[0])")
    #expect(names[1].contains(" 64 cuBLASLt 1"), "\(names[1])")
  }
}
