import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Testing

/// Selectors of equal density on the model in the box.
struct SelectorFactoryTests {
  private let model: LanguageModel
  private let folder = Golden.defaultModel.modelFolder
  private let lesson: [[TokenID]]
  private let windows: [[TokenID]]
  private static let density = 0.25

  init() throws {
    model = try LanguageModel(path: folder, backend: .cpu(CPUOptions(threads: 2)))
    let cases = try Golden.defaultModel.cases().map(\.ids).sorted { $0.count > $1.count }
    let first = try #require(cases.first)
    lesson = [Array(first.dropLast(64))]
    windows = [Array(first.suffix(64).prefix(32)), Array(first.suffix(32))]
  }

  private func factory(
    heads: Double = 1, neurons: Double = 1, calibration: [[TokenID]]? = nil
  ) throws -> SelectorFactory {
    var options = SelectorFactory.Options()
    (options.headDensity, options.mlpDensity) = (heads, neurons)
    options.calibration = calibration ?? lesson
    return try #require(SelectorFactory(model: model, folder: folder, options: options))
  }

  @Test func `selectors compute the share of rows that was asked for`() throws {
    let factory = try factory(neurons: Self.density)
    let kinds: [SelectorKind] = [
      .predicted, .oracle, .static, .nonContextual, .nearest, .random,
    ]
    let subjects = try kinds.map { try factory.subject($0) }
    let runs = try PlanEvaluation(engine: model.engine, subjects: subjects).run(
      windows: windows
    ) { _, _ in }
    #expect(runs.map(\.name) == ["dense"] + kinds.map(\.rawValue))
    for run in runs.dropFirst() {
      let density = run.tally.neuronDensity
      switch run.name {
      // Where fewer neurons are active, an oracle has no use for more.
      case "oracle": #expect(density <= Self.density && density > 0.1)
      case "random": #expect(abs(density - Self.density) < 0.02)
      default: #expect(abs(density - Self.density) < 1e-3, "\(run.name)")
      }
      #expect(run.tally.headDensity == 1)
    }
    // Searching reads all of W1, half of the bytes.
    for run in runs where ["oracle", "nearest"].contains(run.name) {
      #expect(run.mlpBytesPerToken > 0.5 * runs[0].mlpBytesPerToken)
    }
  }

  @Test func `the better a selector knows the token, the more mass it covers`() throws {
    let probe = try #require(SetProbe(engine: model.engine))
    let factory = try factory(heads: 0.5, neurons: Self.density)
    func figures(_ kind: SelectorKind) throws -> SetFigures {
      let sparsity = try #require(try factory.subject(kind).sparsity)
      return try probe.figures(of: sparsity, windows: windows) { _ in }
    }
    let kinds: [SelectorKind] = [.random, .static, .nonContextual, .oracle]
    let all = try kinds.map { try figures($0) }
    for axis in RowAxis.allCases {
      let mass = all.map { $0.total(axis).coveredMass }
      #expect(mass == mass.sorted(), "\(axis): \(mass)")
      let best = all[3].total(axis)
      #expect(best.recall == 1 && best.precision == 1)
    }
    #expect(all[1].neurons.allSatisfy { abs($0.density - Self.density) < 1e-3 })
  }

  @Test func `figures of sets agree with what decoding computes`() throws {
    let probe = try #require(SetProbe(engine: model.engine))
    let subject = try factory(neurons: Self.density).subject(.oracle)
    let sparsity = try #require(subject.sparsity)
    let figures = try probe.figures(of: sparsity, windows: windows) { _ in }.total(.neurons)
    let runs = try PlanEvaluation(engine: model.engine, subjects: [subject]).run(
      windows: windows
    ) { _, _ in }
    #expect(abs(figures.density - runs[1].tally.neuronDensity) < 0.01)
    #expect(figures.tokens == windows.joined().count * model.architecture.layers)
  }

  @Test func `what a selector lacks is said in words`() throws {
    let neurons = try factory(neurons: 0.5)
    let heads = try factory(heads: 0.5)
    let cases: [(SelectorFactory, SelectorKind, SelectorError)] = [
      (try factory(), .oracle, .nothingToChoose(.oracle)),
      (heads, .nearest, .axisNotChosen(.nearest, .heads)),
      (heads, .predicted, .notTrained(.predicted, .heads, folder: folder)),
      (neurons, .lowRank, .notTrained(.lowRank, .neurons, folder: folder)),
      (try factory(neurons: 0.5, calibration: []), .static, .noCalibration(.static)),
    ]
    for (factory, kind, expected) in cases {
      #expect(throws: expected) { try factory.subject(kind) }
    }
    #expect(try factory().subject(.exact).mode == .exact)
  }
}
