public import ArgumentParser
public import DejaVuCore
import DejaVuModels
import DejaVuTraining

/// What `dejavu train` may be told about the predictors.
struct TrainingArguments: ParsableArguments {
  @Option(help: "Rows that are predicted: heads, neurons or both.")
  var axis = TrainedAxes.both

  @Option(
    help: ArgumentHelp(
      """
      Where neurons' predictors look: after-attention (the stream behind the layer's attention), \
      block-ahead (the layer's input) or layer-ahead (the input of the layer before).
      """, valueName: "place"))
  var placement = Placement.afterAttention

  @Option(
    help: ArgumentHelp(
      "Where heads' predictors look: same (the layer's input), block-ahead or layer-ahead.",
      valueName: "place"))
  var headPlacement = Placement.same

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Share of a layer's bytes that its predictor may take (default: 8%).", valueName: "share"),
    transform: Numbers.share)
  var predictorBudget = 0.08

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Instead of the budget: one rank for all neurons' predictors, a multiple of 64.",
      valueName: "n"),
    transform: Numbers.whole(64...65536))
  var rank: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Bits of a stored weight: 8 or 4 (default: 4).", valueName: "n"),
    transform: Numbers.whole(4...8))
  var bits = 4

  @Option(
    help: ArgumentHelp(
      """
      What makes a row positive: contribution (the norm of what it adds to the stream) or \
      activation (the paper's: a neuron above zero, a head among the larger half).
      """, valueName: "name"))
  var criterion = Criterion.contribution

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Wall-clock time, such as 90s, 30m or 2h (default: 30m, or none with --tokens).",
      valueName: "time"),
    transform: Numbers.time)
  var timeBudget: Duration?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Tokens to read, so that the result does not depend on the clock.", valueName: "count"),
    transform: Numbers.whole(1...1_000_000_000_000))
  var tokens: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Seed of every random choice (default: 1).", valueName: "n"),
    transform: Numbers.whole(0...Int.max))
  var seed = 1

  func validate() throws {
    guard [4, 8].contains(bits) else { throw ValidationError("--bits is \(bits), not 8 or 4.") }
    if let rank, rank % 64 != 0 {
      throw ValidationError("--rank is \(rank), not a multiple of 64.")
    }
    for (name, axis, place) in [
      ("--placement", RowAxis.neurons, placement), ("--head-placement", .heads, headPlacement),
    ] where !axis.placements.contains(place) {
      let allowed = axis.placements.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("\(name) is \(place.rawValue), not one of \(allowed).")
    }
  }

  var options: TrainingOptions {
    var options = TrainingOptions()
    options.axes = axis.axes
    (options.placement, options.headPlacement) = (placement, headPlacement)
    (options.budget, options.rank, options.bits) = (predictorBudget, rank, bits)
    (options.criterion, options.tokens, options.seed) = (criterion, tokens, UInt64(seed))
    options.timeBudget = timeBudget ?? (tokens == nil ? options.timeBudget : nil)
    return options
  }
}

/// What `--axis` may say.
enum TrainedAxes: String, CaseIterable, ExpressibleByArgument {
  case heads, neurons, both

  var axes: [RowAxis] {
    switch self {
    case .heads: [.heads]
    case .neurons: [.neurons]
    case .both: [.neurons, .heads]
    }
  }
}

extension Placement: ExpressibleByArgument {
  /// Those that predictors are trained for.
  public static var allValueStrings: [String] {
    allCases.filter { place in RowAxis.allCases.contains { $0.placements.contains(place) } }
      .map(\.rawValue)
  }
}
extension Criterion: ExpressibleByArgument {}
