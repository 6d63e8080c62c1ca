import DejaVuModels

/// A mean of items with its standard error.
package struct TaskMean: Hashable, Sendable {
  package let value: Double
  /// Standard deviation of the items by √n, with n − 1 in the deviation as lm-evaluation-harness has
  /// it; nil for a single item.
  package let standardError: Double?

  package init(_ values: [Double]) {
    let count = Double(values.count)
    let mean = values.reduce(0, +) / max(count, 1)
    value = mean
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    standardError = count > 1 ? (squares / (count - 1) / count).squareRoot() : nil
  }

  package init(value: Double, standardError: Double?) {
    self.value = value
    self.standardError = standardError
  }
}

/// The figures of one column on one task.
package struct TaskFigures: Hashable, Sendable {
  package let items: Int
  /// Share of the items whose likeliest choice is the right one.
  package let accuracy: TaskMean
  /// The same of the choice that is likeliest per code point; nil where lm-evaluation-harness does
  /// not report it.
  package let normalizedAccuracy: TaskMean?
  /// Mean F1 of the answers, of CB.
  package let f1: Double?
  /// e to the mean loss of the words, of LAMBADA; its error to first order.
  package let perplexity: TaskMean?
  /// What guessing scores.
  package let chance: Double
  /// Share of the items whose likeliest choice is not the dense one's; of a word, whether greedy
  /// decoding gives it.
  package let flips: Double
  /// The accuracy's difference to dense, paired by item.
  package let difference: PairedDifference

  package init(
    task: TaskName?, isNormalized: Bool, answers: [TaskAnswer], dense: [TaskAnswer]
  ) {
    let right = answers.map { $0.isRight ? 1.0 : 0 }
    items = answers.count
    accuracy = TaskMean(right)
    normalizedAccuracy =
      isNormalized ? TaskMean(answers.map { $0.isRightNormalized ? 1 : 0 }) : nil
    f1 = task?.hasF1 == true ? Self.meanF1(answers) : nil
    perplexity = task == .lambada ? Self.perplexity(answers) : nil
    chance =
      answers.reduce(0) { $0 + $1.item.chance } / Double(max(answers.count, 1))
    let flipped = zip(answers, dense).count { $0.choice != $1.choice }
    flips = Double(flipped) / Double(max(answers.count, 1))
    difference = PairedDifference(right, dense.map { $0.isRight ? 1 : 0 })
  }

  /// Whether the accuracy is more than two standard errors above chance; below, the task says
  /// nothing about the model.
  package var isInformative: Bool { isAboveChance(accuracy) }

  /// The same of the accuracy per code point.
  package var isNormalizedInformative: Bool { normalizedAccuracy.map(isAboveChance) ?? false }

  private func isAboveChance(_ mean: TaskMean) -> Bool {
    guard let error = mean.standardError else { return false }
    return mean.value - chance > 2 * error
  }

  private static func perplexity(_ answers: [TaskAnswer]) -> TaskMean {
    let loss = TaskMean(answers.map { -$0.scores.reduce(0) { $0 + $1.logProbability } })
    let perplexity = exponential(loss.value)
    return TaskMean(
      value: perplexity, standardError: loss.standardError.map { perplexity * $0 })
  }

  /// The mean over the answers of 2 · hits / (given + right); 0 of an answer that never occurs.
  private static func meanF1(_ answers: [TaskAnswer]) -> Double {
    let choices = answers.first?.item.choices ?? 0
    let each = (0..<choices).map { choice -> Double in
      let given = answers.count { $0.choice == choice }
      let right = answers.count { $0.item.gold == choice }
      let hits = answers.count { $0.choice == choice && $0.item.gold == choice }
      return given + right > 0 ? 2 * Double(hits) / Double(given + right) : 0
    }
    return each.reduce(0, +) / Double(max(choices, 1))
  }
}
