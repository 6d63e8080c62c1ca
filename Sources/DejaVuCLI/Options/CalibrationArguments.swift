import ArgumentParser
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels

/// What `dejavu calibrate` may be told about the plan.
struct CalibrationArguments: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Fewest bytes for this greatest increase of perplexity, as 1% or 0.01 (default: 1%).",
      valueName: "share"),
    transform: Self.increase)
  var maxPerplexityIncrease: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Least damage at this share of rows, of heads and neurons together, each row counting by its \
      bytes: what 'dejavu generate --density' means too.
      """, valueName: "share"),
    transform: Numbers.share)
  var density: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Least damage at this share of neurons; heads stay whole without --head-density.",
      valueName: "share"),
    transform: Numbers.share)
  var mlpDensity: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Least damage at this share of heads, chosen by predictors from 'dejavu train'.",
      valueName: "share"),
    transform: Numbers.share)
  var headDensity: Double?

  @Option(
    help: ArgumentHelp(
      """
      How scores become rows: threshold (as many as the token needs) or count (the same number \
      for every token).
      """, valueName: "rule"))
  var rule = RuleKind.threshold

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Bits of the shadows that compete, of 2, 4 and 8, by commas (default: 2,4).",
      valueName: "list"),
    transform: Self.bits)
  var bits = [2, 4]

  @Option(
    help: ArgumentHelp("Name of the plan (default: its target, as in 1%).", valueName: "name"))
  var name: String?

  func validate() throws {
    let targets = [maxPerplexityIncrease, density, mlpDensity ?? headDensity]
    if targets.count(where: { $0 != nil }) > 1 {
      throw ValidationError(
        "a plan has one target: --max-perplexity-increase, --density, or --mlp-density and "
          + "--head-density")
    }
    if let name, name.isEmpty || Double(name) != nil || ["off", "exact", "auto"].contains(name) {
      throw ValidationError("--name must not be empty, a number, off, exact or auto")
    }
  }

  var target: CalibrationTarget {
    if let density { return .density(density) }
    if mlpDensity != nil || headDensity != nil {
      return .densities(neurons: mlpDensity, heads: headDensity)
    }
    return .perplexityIncrease(maxPerplexityIncrease ?? 0.01)
  }

  /// What the plan is called.
  var planName: String {
    if let name { return name }
    let ending = rule == .count ? "-count" : ""
    switch target {
    case .perplexityIncrease(let share):
      let value = share * 100
      return (value == value.rounded() ? String(Int(value)) : String(value)) + "%" + ending
    case .density(let density): return "density-\(density)" + ending
    case .densities(let neurons, let heads):
      let parts = [neurons.map { "mlp-\($0)" }, heads.map { "head-\($0)" }].compactMap { $0 }
      return parts.joined(separator: "-") + ending
    }
  }

  @Sendable
  private static func increase(_ text: String) throws -> Double {
    let isPercent = text.hasSuffix("%")
    guard let value = Double(isPercent ? String(text.dropLast()) : text), value.isFinite else {
      throw ValidationError("it must be a share such as 1% or 0.01")
    }
    let share = isPercent ? value / 100 : value
    guard share > 0, share <= 0.5 else {
      throw ValidationError("it must be above 0 and at most 50%")
    }
    return share
  }

  @Sendable
  private static func bits(_ text: String) throws -> [Int] {
    let bits = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
    guard !bits.isEmpty, bits.allSatisfy({ [2, 4, 8].contains($0) }), Set(bits).count == bits.count
    else { throw ValidationError("it must be one or more of 2, 4 and 8, as in 2,4") }
    return bits.sorted()
  }
}

extension RuleKind: ExpressibleByArgument {}
