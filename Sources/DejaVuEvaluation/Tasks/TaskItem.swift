/// One question of a task, as lm-evaluation-harness asks it.
package struct TaskItem: Hashable, Sendable {
  /// What is scored.
  package enum Form: Hashable, Sendable {
    /// One question, and answers that may follow it.
    case answers(question: String, answers: [String], gold: Int)
    /// Beginnings that differ, and the one ending that may follow each.
    case beginnings([String], ending: String, gold: Int)
    /// A text and the word that follows it; it counts when decoding greedily gives it.
    case word(text: String, word: String)
  }

  /// A text whose continuation is scored.
  package struct Request: Hashable, Sendable {
    package let context: String
    package let continuation: String
  }

  /// Its number in the file, from 0.
  package let index: Int
  package let form: Form

  package init(index: Int, form: Form) {
    self.index = index
    self.form = form
  }

  /// Between a question and its answer.
  static let answerDelimiter = " "
  /// Behind a few-shot example.
  static let exampleDelimiter = "\n\n"

  /// The texts to score, one for each choice.
  ///
  /// - Parameter examples: solved items in front of the question, as text; empty for none.
  /// - Returns: context and continuation of every choice, in their order.
  package func requests(behind examples: String = "") -> [Request] {
    switch form {
    case .answers(let question, let answers, _):
      answers.map {
        Request(context: examples + question, continuation: Self.answerDelimiter + $0)
      }
    case .beginnings(let beginnings, let ending, _):
      beginnings.map {
        Request(context: examples + $0, continuation: Self.answerDelimiter + ending)
      }
    // The word brings its space along.
    case .word(let text, let word): [Request(context: examples + text, continuation: word)]
    }
  }

  /// The item solved, as an example for others.
  package var example: String {
    let (question, answer) =
      switch form {
      case .answers(let question, let answers, let gold): (question, answers[gold])
      case .beginnings(let beginnings, let ending, let gold): (beginnings[gold], ending)
      case .word(let text, let word): (text, word)
      }
    return question + Self.answerDelimiter + answer + Self.exampleDelimiter
  }

  /// The right choice; 0 of a word, which is the only one.
  package var gold: Int {
    switch form {
    case .answers(_, _, let gold), .beginnings(_, _, let gold): gold
    case .word: 0
    }
  }

  /// How many choices there are.
  package var choices: Int {
    switch form {
    case .answers(_, let answers, _): answers.count
    case .beginnings(let beginnings, _, _): beginnings.count
    case .word: 1
    }
  }

  /// Code points of every answer, which normalised accuracy divides by; of beginnings as the harness
  /// has them, though it reports no such figure for them.
  package var lengths: [Int] {
    switch form {
    case .answers(_, let answers, _): answers.map(\.unicodeScalars.count)
    case .beginnings(let beginnings, _, _): beginnings.map(\.unicodeScalars.count)
    case .word(_, let word): [word.unicodeScalars.count]
    }
  }

  /// Share of the items that guessing gets right; nothing guesses a word.
  package var chance: Double {
    if case .word = form { 0 } else { 1 / Double(max(choices, 1)) }
  }
}
