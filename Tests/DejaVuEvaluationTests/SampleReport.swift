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
      method: .init(rounds: 2, tokensPerRun: 2, seed: 1),
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

  private static func decodeRow(
    _ mode: RunMode, milliseconds: [[Double]], bytes: Int
  ) -> DecodeRow {
    var figures = DecodeFigures(mode: mode, depth: 128)
    figures.rounds = zip(milliseconds, [33.0, 35.0]).map { times, probe in
      .init(milliseconds: times, tally: tally(bytes: 2 * bytes, tokens: 2), probe: probe)
    }
    return DecodeRow(figures, model: .sample, threads: 2, bandwidth: 34)
  }
}
