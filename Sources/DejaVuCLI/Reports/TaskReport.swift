import DejaVu
import DejaVuEvaluation
import DejaVuModels

/// What `eval --tasks` says.
struct TaskReport {
  let results: [TaskResult]
  let options: TaskOptions
  let folder: String
  let loaded: LoadedModel
  let provenance: Provenance
  let path: ScoringPath
  let comparisons: [EarlierResult.Comparison]

  // For people --------------------------------------------------------------------------------------

  var text: String {
    let shots = options.shots == 1 ? "1 example" : "\(options.shots) examples"
    let items = options.limit.map { "up to \($0) items of each task" } ?? "all items"
    var lines = ["\(folder): \(items), \(shots), seed \(options.seed), \(path.rawValue) path", ""]
    lines += TextColumns.lines(
      [Self.header] + results.flatMap { result in result.columns.indices.map { row(result, $0) } })
    if figures.contains(where: { !$0.isInformative }) {
      lines += [
        "", "* within two standard errors of chance: not informative, no evidence of anything",
      ]
    }
    if !comparisons.isEmpty {
      lines += ["", "against the earlier result, with 95 % of a paired bootstrap"]
      lines += comparisons.map(\.text)
    }
    return lines.joined(separator: "\n")
  }

  private var figures: [TaskFigures] {
    results.flatMap { result in result.columns.indices.map { result.figures($0) } }
  }

  private static let header = [
    "task", "rows chosen by", "where", "items", "accuracy", "±", "per character", "±", "chance",
    "perplexity", "flips", "against dense", "95 % of resamples",
  ]

  private func row(_ result: TaskResult, _ column: Int) -> [String] {
    let figures = result.figures(column)
    let asked = result.columns[column]
    let difference = figures.difference
    return [
      result.file.name, asked.name, Self.place(asked), String(figures.items),
      percent(figures.accuracy.value) + (figures.isInformative ? "" : "*"),
      percent(figures.accuracy.standardError),
      percent(figures.normalizedAccuracy?.value)
        + (figures.normalizedAccuracy == nil || figures.isNormalizedInformative ? "" : "*"),
      percent(figures.normalizedAccuracy?.standardError), percent(figures.chance),
      figures.perplexity.map { Quantity.decimals($0.value, 2) } ?? "-",
      column == 0 ? "-" : percent(figures.flips),
      column == 0 ? "-" : percent(difference.mean),
      column == 0 ? "-" : "\(percent(difference.lowest)) to \(percent(difference.highest))",
    ]
  }

  private static func place(_ column: TaskColumn) -> String {
    guard column.subject.mode == .sparse else { return "-" }
    return column.positions == .everywhere ? "every position" : "continuation only"
  }

  private func percent(_ share: Double?) -> String {
    share.map { Quantity.decimals(100 * $0, 1) + " %" } ?? "-"
  }

  // For programs ------------------------------------------------------------------------------------

  var json: JSONValue {
    .object(
      [
        ("schema", "dejavu/eval-tasks/1"), ("model", .text(folder)),
        ("fingerprint", .text(loaded.fingerprint)), ("synthetic", .bool(loaded.isSynthetic)),
      ] + provenance.members + [
        ("prompts", .text("lm-evaluation-harness \(TaskName.harness)")),
        ("path", .text(path.rawValue)), ("shots", .whole(options.shots)),
        ("limit", options.limit.map { .whole($0) } ?? .null),
        ("seed", .whole(Int(options.seed))), ("tasks", .array(results.map(task))),
        ("against", .array(comparisons.map(\.json))),
      ])
  }

  private func task(_ result: TaskResult) -> JSONValue {
    [
      "task": .text(result.file.name), "file": .text(result.file.path),
      "file_digest": .text(result.file.digest),
      "rows": .array(result.columns.indices.map { row($0, of: result) }),
    ]
  }

  private func row(_ column: Int, of result: TaskResult) -> JSONValue {
    let figures = result.figures(column)
    let asked = result.columns[column]
    func real(_ value: Double?) -> JSONValue { value.map { .precise($0) } ?? .null }
    return [
      "selector": .text(asked.name), "mode": .text(asked.subject.mode.rawValue),
      "positions": .text(asked.positions.rawValue), "items": .whole(figures.items),
      "accuracy": real(figures.accuracy.value),
      "standard_error": real(figures.accuracy.standardError), "chance": real(figures.chance),
      "informative": .bool(figures.isInformative),
      "normalized_accuracy": real(figures.normalizedAccuracy?.value),
      "normalized_standard_error": real(figures.normalizedAccuracy?.standardError),
      "normalized_informative": figures.normalizedAccuracy == nil
        ? .null : .bool(figures.isNormalizedInformative),
      "f1": real(figures.f1), "perplexity": real(figures.perplexity?.value),
      "perplexity_standard_error": real(figures.perplexity?.standardError),
      "flips": real(figures.flips), "difference": Self.object(figures.difference),
      "answers": .array(result.answers(column).map(Self.object)),
    ]
  }

  static func object(_ difference: PairedDifference) -> JSONValue {
    [
      "items": .whole(difference.items), "mean": .precise(difference.mean),
      "lowest": .precise(difference.lowest), "highest": .precise(difference.highest),
    ]
  }

  private static func object(_ answer: TaskAnswer) -> JSONValue {
    [
      "index": .whole(answer.item.index), "gold": .whole(answer.item.gold),
      "choice": .whole(answer.choice), "normalized_choice": .whole(answer.normalizedChoice),
      "right": .bool(answer.isRight),
      "log_probabilities": .array(answer.scores.map { .precise($0.logProbability) }),
      "greedy": .array(answer.scores.map { .bool($0.isGreedy) }),
      "tokens": .array(answer.scores.map { .whole($0.tokens) }),
    ]
  }
}
