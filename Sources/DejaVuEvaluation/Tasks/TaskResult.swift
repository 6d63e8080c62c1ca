package import DejaVuModels

/// What every column says to the items of one task.
package struct TaskResult: Sendable {
  package let file: TaskFile
  package let columns: [TaskColumn]
  package var items: [TaskItem] = []
  /// `[column][item][choice]`.
  package var scores: [[[ContinuationScore]]]

  package init(file: TaskFile, columns: [TaskColumn]) {
    self.file = file
    self.columns = columns
    scores = columns.map { _ in [] }
  }

  /// The figures of a column; those that compare are against the first, the dense one.
  package func figures(_ column: Int) -> TaskFigures {
    TaskFigures(
      task: file.task, isNormalized: file.isNormalized, answers: answers(column),
      dense: answers(0))
  }

  /// What a column answers to each item.
  package func answers(_ column: Int) -> [TaskAnswer] {
    zip(items, scores[column]).map { TaskAnswer(item: $0, scores: $1) }
  }
}

/// What one column answers to one item.
package struct TaskAnswer: Hashable, Sendable {
  package let item: TaskItem
  package let scores: [ContinuationScore]

  package init(item: TaskItem, scores: [ContinuationScore]) {
    self.item = item
    self.scores = scores
  }

  private var isWord: Bool { if case .word = item.form { true } else { false } }

  /// The likeliest choice, the first of equals; of a word 0 where decoding greedily gives it, else
  /// −1: which other word it gives is not known.
  package var choice: Int {
    if isWord { return scores.allSatisfy(\.isGreedy) ? 0 : -1 }
    return Self.greatest(scores.map(\.logProbability))
  }

  /// The choice that is likeliest per code point.
  package var normalizedChoice: Int {
    if isWord { return choice }
    return Self.greatest(
      zip(scores, item.lengths).map { $0.logProbability / Double(max($1, 1)) })
  }

  package var isRight: Bool { choice == item.gold }
  package var isRightNormalized: Bool { normalizedChoice == item.gold }

  private static func greatest(_ values: [Double]) -> Int {
    var best = 0
    for index in values.indices where values[index] > values[best] { best = index }
    return best
  }
}
