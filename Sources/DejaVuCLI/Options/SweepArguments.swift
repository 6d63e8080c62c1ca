import ArgumentParser
import DejaVuEvaluation

/// What `eval --sweep` goes through.
struct SweepArguments: ParsableArguments {
  @Flag(
    help: """
      Measure --selectors (default: all that the model and the calibration text allow, but low-rank) at \
      every density, beside dense, exact and, if named, --plan.
      """)
  var sweep = false

  @Option(
    help: ArgumentHelp(
      "Shares of rows that are computed, with a comma between them (default: 0.1,0.25,0.5,0.75).",
      valueName: "shares"),
    transform: SweepArguments.shares)
  var densities: [Double]?

  @Option(
    help: ArgumentHelp(
      """
      Rows of which a share is computed, with a comma between them: neurons alone, heads alone, or the \
      same share of both (default: mlp,heads,both).
      """, valueName: SweepPart.allCases.map(\.rawValue).joined(separator: ",")),
    transform: SweepArguments.parts)
  var parts: [SweepPart]?

  @Flag(
    help: """
      Static sets that learn from one task, for each task: what pruning for a task costs the others.
      """)
  var taskStatic = false

  func validate() throws {
    let others: [(String, Bool)] = [
      ("densities", densities != nil), ("parts", parts != nil), ("task-static", taskStatic),
    ]
    if !sweep, let (name, _) = others.first(where: { $0.1 }) {
      throw ValidationError("--\(name) is for sweeps; add --sweep")
    }
  }

  @Sendable
  private static func shares(_ text: String) throws -> [Double] {
    let shares = try text.split(separator: ",", omittingEmptySubsequences: false).map {
      try Numbers.share(String($0))
    }
    return shares.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }

  @Sendable
  private static func parts(_ text: String) throws -> [SweepPart] {
    let names = SweepPart.allCases.map(\.rawValue).joined(separator: ", ")
    let parts = try text.split(separator: ",", omittingEmptySubsequences: false).map { name in
      guard let part = SweepPart(rawValue: String(name)) else {
        throw ValidationError("'\(name)' is none of \(names)")
      }
      return part
    }
    return parts.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }
}
