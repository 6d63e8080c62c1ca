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
        processor: "Example CPU", cores: 2, instructionSet: "avx512", blas: blas,
        blasMissing: blas == nil ? "no BLAS was found; install OpenBLAS" : nil),
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
      decodeRow(.sparse, milliseconds: [[29, 30], [30, 31]], bytes: 840_000_000),
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
    report.notes = ["the weights are random numbers: figures are about speed, never quality"]
    return report
  }

  private static var sparsity: SparsityRow {
    SparsityRow(
      plan: "synthetic", window: 16, mlpDensity: 0.1, headDensity: 0.5, rank: 256, bits: 8,
      mlpOverlap: 0.45, headOverlap: 0.6)
  }

  private static func decodeRow(
    _ mode: RunMode, milliseconds: [[Double]], bytes: Int
  ) -> DecodeRow {
    var figures = DecodeFigures(mode: mode, depth: 128)
    figures.rounds = zip(milliseconds, [33.0, 35.0]).map { times, probe in
      .init(milliseconds: times, tally: tally(bytes: 2 * bytes, tokens: 2), probe: probe)
    }
    figures.parts = [
      .init(part: "mlp", milliseconds: 9.5, bytes: 80_000_000),
      .init(part: "settling", milliseconds: 0.25, bytes: 1_500_000),
    ]
    if mode == .sparse {
      let site = ChooserSite(layer: 0, axis: .neurons, kind: .lowRank(.afterAttention))
      figures.overlap.note(site, [1, 2, 5, 9])
      figures.overlap.note(site, [0, 2, 9, 10])
    }
    return DecodeRow(figures, model: .sample, threads: 2, bandwidth: 34)
  }
}
