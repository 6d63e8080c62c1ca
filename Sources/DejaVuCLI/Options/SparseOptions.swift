import ArgumentParser
import DejaVu
import DejaVuCore
import DejaVuEvaluation

/// What sparse runs of a benchmark follow.
struct SparseOptions: ParsableArguments {
  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      """
      Share of neurons that sparse runs compute, beside dense and exact ones; repeatable (0 leaves \
      the MLP out, or 0.001 to 1).
      """, valueName: "share"),
    transform: Self.neuronShare)
  var mlpDensity: [Double] = []

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      """
      Share of heads that sparse runs compute; repeatable (0.001 to 1; default of both: 1, every \
      row). Each is measured with each share of neurons, and below 1 two runs with all heads stand \
      beside: the first share of neurons, and no MLP.
      """, valueName: "share"),
    transform: Numbers.real(0.001...1))
  var headDensity: [Double] = []

  @Option(
    help: ArgumentHelp(
      """
      How random predictors choose: threshold (the shares are means) or count (the same number for \
      every token; default: threshold).
      """, valueName: "rule"))
  var rule: RuleKind?

  @Flag(
    help: ArgumentHelp(
      """
      Sweep densities and depths: 5, 10, 25 and 50 % of neurons with half of the heads and with all, \
      at depths of 128, 256, 512 and 1024, no prompts; whatever is named takes its place.
      """))
  var sweep = false

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
    help: ArgumentHelp(
      "What the random predictors of heads read (default: same; on a card: layer-ahead).",
      valueName: "placement"))
  var headPlacement: Placement?

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
    let details: [Any?] = [
      rule, predictorRank, predictorBits, headPlacement, window, setOverlap, headSetOverlap,
    ]
    if headPlacement == .afterAttention {
      throw ValidationError("heads are chosen before attention; take another --head-placement")
    }
    if !hasDensity && details.contains(where: { $0 != nil }) {
      throw ValidationError(
        "predictors are for sparse runs; add --mlp-density, --head-density or both")
    }
    if plan != nil && !(mlpDensity + headDensity).isEmpty {
      throw ValidationError("a plan has its own densities; take either --plan or densities")
    }
  }

  /// Whether random predictors are asked for.
  var hasDensity: Bool { plan == nil && (sweep || !(mlpDensity + headDensity).isEmpty) }

  /// Whether any sparse runs are asked for.
  var isSparse: Bool { hasDensity || plan != nil }

  /// What sparse runs are asked for, each share once, in the order given.
  var points: [SparsePoint] {
    let (neurons, heads) = sweep ? ([0.05, 0.1, 0.25, 0.5], [0.5, 1]) : ([1.0], [1.0])
    return SparsePoint.grid(
      mlpDensities: mlpDensity.isEmpty ? neurons : WorkloadOptions.unique(mlpDensity),
      headDensities: headDensity.isEmpty ? heads : WorkloadOptions.unique(headDensity))
  }

  /// Whether some run skips heads, so that keys and values are settled later.
  var skipsHeads: Bool { points.contains { $0.headDensity < 1 } }

  /// 0, or a share that at least one neuron in a thousand is.
  @Sendable
  private static func neuronShare(_ text: String) throws -> Double {
    if Double(text) == 0 { return 0 }
    guard let share = Double(text), (0.001...1).contains(share) else {
      throw ValidationError("it must be 0, or a number from 0.001 to 1")
    }
    return share
  }

  func options(seed: UInt64) -> SyntheticSparsity.Options {
    var options = SyntheticSparsity.Options()
    options.rule = rule ?? options.rule
    options.rank = predictorRank ?? options.rank
    options.bits = predictorBits ?? options.bits
    options.window = window ?? options.window
    options.headPlacement = headPlacement ?? options.headPlacement
    options.mlpOverlap = setOverlap ?? options.mlpOverlap
    options.headOverlap = headSetOverlap ?? options.headOverlap
    options.seed = seed
    return options
  }
}
