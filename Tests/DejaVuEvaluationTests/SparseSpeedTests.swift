import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Testing

/// Sparse runs of synthetic models: what is chosen, how it changes, and what is counted.
struct SparseSpeedTests {
  private func engine(_ shape: ModelShape) throws -> Engine {
    var options = SyntheticModel.Options()
    options.reluDensity = SyntheticSparsity.reluDensity
    let team = try ThreadTeam(threads: 1)
    let made = try SyntheticModel(shape: shape, options: options, team: team)
    return try Engine(model: made.model, backend: .cpu(CPUOptions(threads: 1)))
  }

  private func options(
    mlp: Double, heads: Double, rank: Int = 64
  ) -> SyntheticSparsity.Options {
    var options = SyntheticSparsity.Options()
    (options.mlpDensity, options.headDensity, options.rank) = (mlp, heads, rank)
    options.rule = .count
    return options
  }

  private func figures(
    _ engine: Engine, _ options: SyntheticSparsity.Options, tokens: Int = 24
  ) throws -> [DecodeFigures] {
    let point = SparsePoint(mlpDensity: options.mlpDensity, headDensity: options.headDensity)
    return try figures(engine, options, points: [point], tokens: tokens)
  }

  private func figures(
    _ engine: Engine, _ options: SyntheticSparsity.Options, points: [SparsePoint],
    tokens: Int = 24
  ) throws -> [DecodeFigures] {
    let subject = SparseSubject(synthetic: options, points: points)
    let sparse = try subject.runs.map {
      SparseRun(point: $0.point, sparsity: try $0.make(engine))
    }
    var workload = Workload()
    (workload.depths, workload.prompts, workload.tokens) = ([16], [], tokens)
    workload.modes = [.dense, .exact, .sparse]
    workload.lengthen(toSettle: options.window)
    var run = try SpeedRun(engine: engine, workload: workload, sparse: sparse)
    try run.warmUp()
    try run.round(0, .init(bandwidth: { 10 }, product: { _ in nil }, step: {}))
    try run.observe()
    return run.decode
  }

  private static let medium = ModelShape(
    name: "medium", layers: 3, hidden: 256, heads: 16, vocabulary: 512, context: 256)

  @Test(arguments: [(0.1, 0.5), (0.25, 0.25)], [8, 4])
  func `densities are those asked for and overlaps near the wish`(
    densities: (Double, Double), bits: Int
  ) throws {
    var options = options(mlp: densities.0, heads: densities.1)
    options.bits = bits
    let sparse = try #require(try figures(engine(Self.medium), options).last)
    let (neurons, heads) = (
      sparse.density(\.neuronRows, of: \.neuronRowsOfAll),
      sparse.density(\.headRows, of: \.headRowsOfAll)
    )
    let count = SyntheticSparsity.count(density: densities.0, of: 1024)
    #expect(neurons == Double(count) / 1024)
    #expect(heads == densities.1)
    #expect(abs(try #require(sparse.overlap.mean(.neurons)) - 0.45) < 0.12)
    #expect(abs(try #require(sparse.overlap.mean(.heads)) - 0.6) < 0.15)
  }

  @Test func `thresholds give the densities in the mean, and sets of several sizes`() throws {
    var options = options(mlp: 0.1, heads: 0.5)
    options.rule = .threshold
    let sparse = try #require(try figures(engine(Self.medium), options, tokens: 48).last)
    let (neurons, heads) = (
      try #require(sparse.density(\.neuronRows, of: \.neuronRowsOfAll)),
      try #require(sparse.density(\.headRows, of: \.headRowsOfAll))
    )
    #expect(abs(neurons - 0.1) < 0.02)
    #expect(abs(heads - 0.5) < 0.08)
    #expect(abs(try #require(sparse.overlap.mean(.neurons)) - 0.45) < 0.12)
    #expect(abs(try #require(sparse.overlap.mean(.heads)) - 0.6) < 0.15)
    let count = SyntheticSparsity.count(density: 0.1, of: 1024)
    #expect(neurons != Double(count) / 1024, "every set had the same size")
  }

  @Test func `an axis that is off has no choosers and reads every row`() throws {
    let rows = try figures(engine(Self.medium), options(mlp: 0.1, heads: 1))
    let sparse = rows[2]
    #expect(sparse.density(\.headRows, of: \.headRowsOfAll) == 1)
    #expect(sparse.overlap.mean(.heads) == nil)
    #expect(sparse.perToken(\.keptInputs) == 0)
    #expect(sparse.perToken(\.attentionWeights) == rows[0].perToken(\.attentionWeights))
  }

  @Test func `the bytes of a sparse token are those counted by hand`() throws {
    // One layer, D = 64, eight heads of 8, F = 256, V = 96; 26 neurons and four heads a token.
    let shape = ModelShape(
      name: "countable", layers: 1, hidden: 64, heads: 8, vocabulary: 96, context: 128)
    let rows = try figures(engine(shape), options(mlp: 0.1, heads: 0.5))
    let (dense, sparse) = (rows[0], rows[2])
    // A row of 64 codes is padded to 128 and has two scales; first matrices of 64 rows, second ones of 256
    // and of 8.
    #expect(sparse.perToken(\.chooser) == Double((64 + 256 + 64 + 8) * 132))
    // Up and down rows of 26 neurons; one in a thousand down rows is zero.
    #expect(abs(sparse.perToken(\.mlpWeights) - Double(2 * 26 * 64 * 2)) < 64 * 2)
    #expect(sparse.perToken(\.headWeights) == dense.perToken(\.headWeights))
    // Rows of four heads of eight, and key and value rows again where the window's end settles.
    let half = Double(4 * 4 * 8 * 64 * 2)
    #expect(sparse.perToken(\.attentionWeights) > half)
    #expect(sparse.perToken(\.attentionWeights) <= half + half / 2 / 16)
    #expect(sparse.perToken(\.cache) * 2 == dense.perToken(\.cache))
    #expect(sparse.perToken(\.keptInputs) > 0)
    // The parts hold all bytes, and those of one are where they belong.
    let report = SpeedReport.DecodeRow(sparse, model: .sample, threads: 1, bandwidth: nil)
    let total = report.parts.reduce(0) { $0 + ($1.bytes.value ?? 0) }
    #expect(abs(total - sparse.bytesPerToken) < 1)
    let choosers = try #require(report.parts.first { $0.part == "choosers" })
    #expect(choosers.bytes == report.chooserBytes)
    #expect(report.mlpDensity == Figure(26.0 / 256))
    #expect(report.keptBytes.value != nil)
  }

  @Test func `the flops of a sparse token are those counted by hand, part by part`() throws {
    let shape = ModelShape(
      name: "countable", layers: 1, hidden: 64, heads: 8, vocabulary: 96, context: 128)
    let rows = try figures(engine(shape), options(mlp: 0.1, heads: 0.5))
    let parts = Dictionary(
      uniqueKeysWithValues: rows[2].parts.map { ($0.part, $0.flops.value ?? 0) })
    // First matrices of 64 rows, second ones of 256 and of 8, all 64 wide.
    #expect(parts["choosers"] == Double(2 * 64 * (64 + 256 + 64 + 8)))
    #expect(parts["head"] == Double(2 * 96 * 64))
    // Up and down rows of 26 neurons; one in a thousand down rows is zero.
    let mlp = try #require(parts["mlp"])
    #expect(mlp <= Double(2 * 64 * 2 * 26) && mlp > Double(2 * 64 * (2 * 26 - 1)))
    // Four heads of eight: their query and output rows, and key and value rows once or more often.
    let once = Double(2 * 64 * 4 * 4 * 8)
    #expect(try #require(parts["attention"]) > once)
    // Every key and value is computed once, be it at once, late or at the window's end.
    let settled = try #require(parts["attention"]) + (parts["settling"] ?? 0) - once / 2
    #expect(abs(settled - Double(2 * 64 * 2 * 8 * 8)) < 0.1 * settled)
    // Positions 16 + 2 … behind which 32 tokens come: 19 to 50 are seen.
    #expect(parts["cache"] == Double(2 * 2 * 4 * 8) * (19.0 + 50) / 2)
    #expect(parts["rest"] == 0)
  }

  @Test func `parts sum up to the whole in every mode`() throws {
    let rows = try figures(engine(Self.medium), options(mlp: 0.1, heads: 0.5))
    #expect(rows.map(\.mode) == [.dense, .exact, .sparse])
    for figures in rows {
      let row = SpeedReport.DecodeRow(figures, model: .sample, threads: 1, bandwidth: nil)
      #expect(row.parts.map(\.part) == StepProfile.Part.allCases.map(\.rawValue))
      let (bytes, flops) = (
        row.parts.compactMap(\.bytes.value).reduce(0, +),
        row.parts.compactMap(\.flops.value).reduce(0, +)
      )
      #expect(abs(bytes - (row.bytesPerToken.value ?? 0)) < 1)
      #expect(abs(flops - (row.flops.value ?? 0)) < 1)
      let time = Dictionary(
        uniqueKeysWithValues: row.parts.map { ($0.part, $0.milliseconds.value ?? -1) })
      for part in ["cache", "attention", "mlp"] { #expect(try #require(time[part]) > 0) }
    }
  }

  @Test func `many plans follow one another on the same cache`() throws {
    let points = SparsePoint.grid(mlpDensities: [0.1, 0.25], headDensities: [0.5])
    let engine = try engine(Self.medium)
    let options = options(mlp: 1, heads: 1)
    let rows = try figures(engine, options, points: points)
    #expect(rows.map(\.mode) == [.dense, .exact] + Array(repeating: .sparse, count: 4))
    #expect(rows.dropFirst(2).map(\.point) == points)
    let neurons = rows.dropFirst(2).map { $0.density(\.neuronRows, of: \.neuronRowsOfAll) }
    #expect(neurons == [102.0 / 1024, 0.25, 102.0 / 1024, 0])
    // No neuron at all: what is left is attention, head and nothing to choose with.
    #expect(rows[5].perToken(\.mlpWeights) == 0 && rows[5].perToken(\.chooser) == 0)
    #expect(rows[5].perToken(\.attentionWeights) == rows[0].perToken(\.attentionWeights))
    // A run of its own reads what the same point reads among others.
    let alone = try figures(engine, options, points: [points[0]])[2]
    #expect(alone.perToken(\.keptInputs) > 0)
    #expect(alone.perToken(\.mlpWeights) == rows[2].perToken(\.mlpWeights))
    #expect(alone.perToken(\.cache) == rows[2].perToken(\.cache))
  }

  @Test func `heads that are skipped have rows with all heads beside them`() {
    let grid = { (neurons: [Double], heads: [Double]) in
      SparsePoint.grid(mlpDensities: neurons, headDensities: heads).map {
        [$0.mlpDensity, $0.headDensity]
      }
    }
    #expect(grid([0.1], [0.5]) == [[0.1, 0.5], [0.1, 1], [0, 1]])
    #expect(
      grid([0.1, 0.2], [0.5, 1]) == [[0.1, 0.5], [0.2, 0.5], [0.1, 1], [0.2, 1], [0, 1]])
    #expect(grid([0.1, 0.2], [1]) == [[0.1, 1], [0.2, 1]])
    #expect(grid([1], [0.5]) == [[1, 0.5]])
  }

  @Test(arguments: [(16, 16, 32), (1, 16, 32), (40, 16, 48), (5, 0, 5), (16, 4, 16)])
  func `runs are whole windows and eight tokens more than one`(
    tokens: Int, window: Int, expected: Int
  ) {
    var workload = Workload()
    workload.tokens = tokens
    workload.lengthen(toSettle: window)
    #expect(workload.tokens == expected)
  }

  @Test func `the overlap of sets is the share that is chosen again`() {
    let site = ChooserSite(layer: 0, axis: .heads, kind: .lowRank(.same))
    var overlap = SetOverlap()
    #expect(overlap.mean(.heads) == nil)
    for list in [[0, 1, 2, 3], [1, 3, 5, 7], [1, 3, 5, 7]] as [[Int32]] { overlap.note(site, list) }
    #expect(overlap.mean(.heads) == 0.75)
    #expect(overlap.mean(.neurons) == nil)
  }
}
