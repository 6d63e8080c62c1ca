import DejaVuCore
import DejaVuEvaluation
import DejaVuModels

func tally(bytes: Int, tokens: Int = 1) -> Tally {
  var tally = Tally()
  tally.tokens = tokens
  tally.mlpWeights = bytes
  return tally
}

extension SpeedReport.Model {
  static var sample: SpeedReport.Model {
    SpeedReport.Model(
      shape: "opt-1.3b", dtype: "float16", synthetic: true,
      recipe: "opt-1.3b, seed 1, ReLU density 0.5", weightBytes: 2_631_000_000)
  }
}

extension SpeedReport {
  /// A report of fixed numbers.
  static func sample(blas: String? = "libopenblas.so.0") -> SpeedReport {
    var report = SpeedReport(
      model: .sample,
      machine: .init(
        processor: "Example CPU", cores: 2, instructionSet: "avx512", activationBits: nil,
        blas: blas, blasMissing: blas == nil ? "no BLAS was found; install OpenBLAS" : nil),
      method: .init(rounds: 2, tokensPerRun: 2, seed: 1, sparsity: sparsity),
      memory: .init(
        peakBytes: 2_900_000_000, weightBytes: 2_631_000_000, cacheBytes: 252_000_000))
    report.bandwidth = [.init(threads: 2, gigabytesPerSecond: [33, 34, 35])]
    if blas != nil {
      report.sgemm = [
        .init(
          threads: 2, tokens: 128, columns: 8192, inner: 2048, gigaflopsPerSecond: [200, 210])
      ]
    }
    report.decode = [
      decodeRow(.dense, milliseconds: [[80, 82], [84, 86]], bytes: 2_620_000_000),
      decodeRow(.exact, milliseconds: [[60, 62], [64, 66]], bytes: 1_940_000_000),
      decodeRow(
        .sparse, milliseconds: [[29, 30], [30, 31]], bytes: 840_000_000,
        point: SparsePoint(mlpDensity: 0.1, headDensity: 0.5)),
      decodeRow(
        .sparse, milliseconds: [[40, 41], [41, 43]], bytes: 1_240_000_000,
        point: SparsePoint(mlpDensity: 0.1, headDensity: 1)),
      decodeRow(
        .sparse, milliseconds: [[32, 33], [33, 35]], bytes: 1_020_000_000,
        point: SparsePoint(mlpDensity: 0, headDensity: 1)),
    ]
    report.compareWithDense()
    var prompt = PromptFigures(tokens: 128, flops: 3.1e11)
    prompt.rounds = [
      .init(milliseconds: 1600, product: blas == nil ? nil : 200),
      .init(milliseconds: 1700, product: blas == nil ? nil : 210),
    ]
    report.prompt = [
      .init(prompt, model: report.model, threads: 2, arithmetic: "float32")
    ]
    report.memory.faultIn = [.init(threads: 2, gigabytesPerSecond: [3, 3.5, 4])]
    report.memory.packing = .init(threads: 2, bytes: 2_631_000_000, seconds: 1.25)
    report.memory.firstToken = [
      .init(
        isPacked: false, folder: "opt-1.3b", threads: 2, loadSeconds: 1.25, seconds: 1.36),
      .init(
        isPacked: true, folder: "opt-1.3b-packed", threads: 2, loadSeconds: 0.001, seconds: 0.42),
    ]
    report.compareWithFreshMemory()
    report.notes = ["the weights are random numbers: figures are about speed, never quality"]
    return report
  }

  private static var sparsity: SparsityRow {
    SparsityRow(
      plan: "synthetic", window: 16, rule: "threshold", rank: 256, bits: 8, mlpOverlap: 0.45,
      headOverlap: 0.6)
  }

  private static func decodeRow(
    _ mode: RunMode, milliseconds: [[Double]], bytes: Int, point: SparsePoint? = nil
  ) -> DecodeRow {
    var figures = DecodeFigures(mode: mode, depth: 128, point: point)
    var tally = tally(bytes: 2 * bytes, tokens: 2)
    (tally.weightFlops, tally.neuronRowsOfAll, tally.headRowsOfAll) = (2 * bytes, 1000, 100)
    tally.neuronRows = Int(1000 * (point?.mlpDensity ?? 1))
    tally.headRows = Int(100 * (point?.headDensity ?? 1))
    figures.rounds = zip(milliseconds, [33.0, 35.0]).map { times, probe in
      .init(milliseconds: times, tally: tally, probe: probe)
    }
    figures.parts = [
      .init(part: "mlp", milliseconds: 9.5, bytes: 80_000_000, flops: 80_000_000),
      .init(part: "settling", milliseconds: 0.25, bytes: 1_500_000, flops: 2_500_000),
    ]
    if let point, point.mlpDensity > 0 {
      let site = ChooserSite(layer: 0, axis: .neurons, kind: .lowRank(.afterAttention))
      figures.overlap.note(site, [1, 2, 5, 9])
      figures.overlap.note(site, [0, 2, 9, 10])
    }
    return DecodeRow(figures, model: .sample, threads: 2, bandwidth: 34)
  }
}
