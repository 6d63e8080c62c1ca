import ArgumentParser
import DejaVuEvaluation
import DejaVuModels

/// Ways to choose rows that `eval` puts side by side.
struct ComparisonOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Compare this plan, stored beside the model, with dense and exact.", valueName: "name"))
  var plan: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The same of the plan for this share of rows, between the stored ones.", valueName: "share"),
    transform: Numbers.share)
  var density: Double?

  @Option(
    help: ArgumentHelp(
      """
      Compare these selectors at equal density, with a comma between them: \
      \(SelectorKind.allCases.map(\.rawValue).joined(separator: ", ")).
      """, valueName: "names"),
    transform: ComparisonOptions.selectors)
  var selectors: [SelectorKind]?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Share of the neurons that selectors choose in every layer (default: 1, every neuron).",
      valueName: "share"),
    transform: Numbers.share)
  var mlpDensity: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Share of the heads that selectors choose in every layer (default: 1, every head).",
      valueName: "share"),
    transform: Numbers.share)
  var headDensity: Double?

  @Option(
    help: ArgumentHelp(
      "Text that static and non-contextual learn from; another one than is judged.",
      valueName: "file"))
  var calibration: String?

  @Option(
    help: ArgumentHelp(
      "Draw perplexity against bytes per token into this file.", valueName: "file.svg"),
    completion: .file(extensions: ["svg"]))
  var plot: String?

  @Option(
    help: ArgumentHelp(
      "Draw the runs of this result, written with --json, beside; can be repeated.",
      valueName: "file"))
  var beside: [String] = []

  @Flag(help: "Show how fast each way decodes, too: from the same steps, in turns of 64 tokens.")
  var speed = false

  @Flag(
    help: """
      Run each way that skips heads once more with keys and values of all heads computed at once, \
      and say how far the losses differ.
      """)
  var eagerKeys = false

  func validate() throws {
    if plan != nil && density != nil { throw ValidationError("take either --plan or --density") }
    if selectors == nil && (mlpDensity ?? headDensity) != nil {
      throw ValidationError("densities are those of selectors; add --selectors")
    }
    let others = [("speed", speed), ("eager-keys", eagerKeys), ("plot", plot != nil)]
    if !isAsked, let (name, _) = others.first(where: \.1) {
      throw ValidationError("--\(name) is for comparisons; add --plan or --selectors")
    }
    if plot == nil && !beside.isEmpty {
      throw ValidationError("--beside is for drawings; add --plot")
    }
  }

  /// Whether anything is to be compared.
  var isAsked: Bool { isPlan || selectors != nil }

  /// Whether that is a stored plan, or one between stored ones.
  var isPlan: Bool { plan != nil || density != nil }

  @Sendable
  private static func selectors(_ text: String) throws -> [SelectorKind] {
    let all = SelectorKind.allCases.map(\.rawValue).joined(separator: ", ")
    var kinds: [SelectorKind] = []
    for name in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let kind = SelectorKind(rawValue: String(name)) else {
        throw ValidationError("'\(name)' is none of \(all)")
      }
      if !kinds.contains(kind) { kinds.append(kind) }
    }
    return kinds
  }
}
