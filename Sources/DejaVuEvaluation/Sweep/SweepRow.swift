import DejaVuModels

/// What one point of a sweep came to.
package struct SweepRow: Codable, Hashable, Sendable {
  package var selector: String
  /// `dense`, `exact` or `sparse`.
  package var mode: String
  /// Rows that are left out, and the share that is computed; null of dense, exact and stored plans.
  package var part: SweepPart?
  package var density: Figure
  /// Through the prompt path, selectors acting at every position; null without a text.
  package var prompt: SweepQuality?
  /// Through decode, with deferred keys.
  package var decode: SweepQuality?
  package var tasks: [SweepTaskRow]

  init(dense prompt: [ComparedWindow], _ decode: [ComparedWindow], tasks: [SweepTaskRow]) {
    self.init(SweepPoint(.dense), prompt: prompt, decode: decode, tasks: tasks)
  }

  init(
    _ point: SweepPoint, prompt: [ComparedWindow], decode: [ComparedWindow], tasks: [SweepTaskRow]
  ) {
    (selector, mode) = (point.subject.name, point.subject.mode.rawValue)
    (part, density) = (point.part, Figure(point.density))
    self.prompt = prompt.isEmpty ? nil : SweepQuality(prompt, path: .prompt)
    self.decode = decode.isEmpty ? nil : SweepQuality(decode, path: .decode)
    self.tasks = tasks
  }

  package func tasks(shots: Int) -> [SweepTaskRow] { tasks.filter { $0.shots == shots } }
}

/// One task at one point.
package struct SweepTaskRow: Codable, Hashable, Sendable {
  package var task: String
  package var shots: Int
  package var items: Int
  package var accuracy: Figure
  package var standardError: Figure
  package var chance: Figure
  package var informative: Bool
  package var normalizedAccuracy: Figure
  package var normalizedStandardError: Figure
  package var normalizedInformative: Bool?
  /// Of LAMBADA's words.
  package var perplexity: Figure
  package var flips: Figure
  /// Accuracy less the dense one's, and between what 95 % of paired resamples lie.
  package var difference: Figure
  package var lowestDifference: Figure
  package var highestDifference: Figure

  init(_ result: TaskResult, column: Int, shots: Int) {
    let figures = result.figures(column)
    task = result.file.name
    self.shots = shots
    items = figures.items
    accuracy = Figure(figures.accuracy.value)
    standardError = Figure(figures.accuracy.standardError)
    chance = Figure(figures.chance)
    informative = figures.isInformative
    normalizedAccuracy = Figure(figures.normalizedAccuracy?.value)
    normalizedStandardError = Figure(figures.normalizedAccuracy?.standardError)
    normalizedInformative =
      figures.normalizedAccuracy == nil ? nil : figures.isNormalizedInformative
    perplexity = Figure(figures.perplexity?.value)
    flips = Figure(figures.flips)
    difference = Figure(figures.difference.mean)
    lowestDifference = Figure(figures.difference.lowest)
    highestDifference = Figure(figures.difference.highest)
  }
}
