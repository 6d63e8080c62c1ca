import ArgumentParser
import DejaVu
import DejaVuEvaluation

/// What sparse runs of a benchmark follow.
struct SparseOptions: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Share of neurons that sparse runs compute, beside dense and exact ones (0.001 to 1).",
      valueName: "share"),
    transform: Numbers.real(0.001...1))
  var mlpDensity: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Share of heads that sparse runs compute (0.001 to 1; default of both: 1, every row).",
      valueName: "share"),
    transform: Numbers.real(0.001...1))
  var headDensity: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Rank of the random predictors, a multiple of 64 (default: 256).", valueName: "number"),
    transform: Numbers.whole(64...1 << 14))
  var predictorRank: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Bits of their weights, 8 or 4 (default: 8).", valueName: "number"),
    transform: Numbers.whole(4...8))
  var predictorBits: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Positions whose inputs are kept for skipped heads (1 to 1024; default: 16).",
      valueName: "count"),
    transform: Numbers.whole(1...1024))
  var window: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Share of a token's neurons that the next one chooses again (0 to 1; default: 0.45).",
      valueName: "share"),
    transform: Numbers.real(0...1))
  var setOverlap: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The same of heads (0 to 1; default: 0.6).", valueName: "share"),
    transform: Numbers.real(0...1))
  var headSetOverlap: Double?

  @Option(
    help: ArgumentHelp(
      "Plan that sparse runs of a trained model follow, stored beside it.", valueName: "name"))
  var plan: String?

  func validate() throws {
    if let predictorRank, predictorRank % 64 != 0 {
      throw ValidationError("--predictor-rank must be a multiple of 64")
    }
    if let predictorBits, predictorBits != 4 && predictorBits != 8 {
      throw ValidationError("--predictor-bits must be 4 or 8")
    }
    let details: [Any?] = [predictorRank, predictorBits, window, setOverlap, headSetOverlap]
    if !hasDensity && details.contains(where: { $0 != nil }) {
      throw ValidationError(
        "predictors are for sparse runs; add --mlp-density, --head-density or both")
    }
    if hasDensity && plan != nil {
      throw ValidationError("a plan has its own densities; take either --plan or densities")
    }
  }

  /// Whether random predictors are asked for.
  var hasDensity: Bool { mlpDensity != nil || headDensity != nil }

  /// Whether any sparse runs are asked for.
  var isSparse: Bool { hasDensity || plan != nil }

  func options(seed: UInt64) -> SyntheticSparsity.Options {
    var options = SyntheticSparsity.Options()
    options.mlpDensity = mlpDensity ?? 1
    options.headDensity = headDensity ?? 1
    options.rank = predictorRank ?? options.rank
    options.bits = predictorBits ?? options.bits
    options.window = window ?? options.window
    options.mlpOverlap = setOverlap ?? options.mlpOverlap
    options.headOverlap = headSetOverlap ?? options.headOverlap
    options.seed = seed
    return options
  }
}
