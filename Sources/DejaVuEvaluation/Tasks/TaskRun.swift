package import DejaVu
import DejaVuCore
import DejaVuFormats
import DejaVuModels

/// How tasks are asked.
package struct TaskOptions: Hashable, Sendable {
  /// Solved items in front of each, 0 to 32.
  package var shots = 0
  /// Seeded items of each task; nil takes all.
  package var limit: Int? = 200
  /// Of the items and of the examples.
  package var seed: UInt64 = 1

  package init() {}

  /// Solved items that may stand in front of a question.
  package static let shotRange = 0...32
}

/// Asks a model the items of tasks, in several ways side by side: every item goes through all columns
/// before the next, so that what a stopped run has done can be compared.
package final class TaskRun {
  private let model: LanguageModel
  private let columns: [TaskColumn]
  private let options: TaskOptions
  private let questions: [[Question]]
  private let files: [TaskFile]
  private let journal: ScoreJournal?
  /// For each column what its journal keys begin with.
  private let digests: [String]
  private var sessions: [any Session] = []

  /// An item as token ids.
  private struct Question {
    let item: TaskItem
    let texts: [ScoredText]

    /// Tokens that are read: what all texts begin with is read once.
    var tokens: Int {
      let shared = ScoredText.sharedTokens(of: texts)
      return texts.reduce(shared) { $0 + $1.tokens.count - shared }
    }
  }

  /// Encodes every item.
  ///
  /// - Parameters:
  ///   - model: who answers.
  ///   - files: the tasks.
  ///   - columns: ways to answer, the dense one first.
  ///   - options: how many items and examples, and their seed.
  ///   - journal: what was scored before; grows by what is scored now.
  ///   - build: names the program's code in the journal.
  /// - Throws: ``TaskError``.
  package init(
    model: LanguageModel, files: [TaskFile], columns: [TaskColumn], options: TaskOptions,
    journal: ScoreJournal? = nil, build: String = ""
  ) throws(TaskError) {
    precondition(columns.first?.subject.mode == .dense, "the first column is the dense one")
    self.model = model
    self.files = files
    self.columns = columns
    self.options = options
    self.journal = journal
    digests = journal == nil ? [] : columns.map { $0.digest(model: model, build: build) }
    var questions: [[Question]] = []
    for file in files { questions.append(try Self.questions(file, model, options)) }
    self.questions = questions
  }

  private static func questions(
    _ file: TaskFile, _ model: LanguageModel, _ options: TaskOptions
  ) throws(TaskError) -> [Question] {
    let examples = try TaskExamples(file: file, shots: options.shots, seed: options.seed)
    let encoder = TaskEncoder(
      tokenizer: model.tokenizer, context: model.architecture.context, task: file.name)
    var questions: [Question] = []
    for item in examples.items(options.limit) {
      var texts: [ScoredText] = []
      for request in item.requests(behind: examples.text(before: item)) {
        texts.append(try encoder.text(request, item: item.index))
      }
      questions.append(Question(item: item, texts: texts))
    }
    return questions
  }

  /// Runs on the calling thread.
  ///
  /// - Parameter progress: called with the tokens done and to do, what the journal holds left out.
  /// - Returns: for each task the scores of its items in every column.
  /// - Throws: ``BackendError`` or ``TaskError``.
  package func run(progress: (Int, Int) -> Void = { _, _ in }) throws -> [TaskResult] {
    let capacity = questions.joined().flatMap { $0.texts }.map { $0.tokens.count - 1 }.max() ?? 1
    sessions = try columns.map { column in
      try model.engine.makeSession(
        capacity: max(capacity, 1), mode: column.subject.mode, sparsity: column.subject.sparsity,
        defersKeys: column.subject.defersKeys)
    }
    defer { sessions = [] }
    var (done, total) = (0, tokensToScore(columns.indices))
    if total == 0 { total = 1 }
    var results: [TaskResult] = []
    for (file, questions) in zip(files, questions) {
      var result = TaskResult(file: file, columns: columns)
      for question in questions {
        let cost = tokensToScore(question, columns.indices)
        result.items.append(question.item)
        for column in columns.indices {
          result.scores[column].append(try scores(question, column))
        }
        done += cost
        progress(done, total)
      }
      results.append(result)
    }
    return results
  }

  /// Tokens that some columns have to read, what the journal holds left out.
  package func tokensToScore(_ columns: Range<Int>) -> Int {
    questions.joined().reduce(0) { $0 + tokensToScore($1, columns) }
  }

  private func tokensToScore(_ question: Question, _ columns: Range<Int>) -> Int {
    columns.count { journal?[key(question, $0)] == nil } * question.tokens
  }

  private func scores(_ question: Question, _ column: Int) throws -> [ContinuationScore] {
    let key = key(question, column)
    // Two items that read the same have the same scores.
    if let known = journal?[key], known.count == question.texts.count { return known }
    let session = sessions[column]
    session.truncate(to: 0)
    let scores = try session.scores(
      endsOf: question.texts, path: columns[column].path, positions: columns[column].positions
    ).map { ContinuationScore($0) }
    try journal?.append(scores, for: key)
    return scores
  }

  private func key(_ question: Question, _ column: Int) -> String {
    guard journal != nil else { return "" }
    var digest = SHA256()
    digest.update(digests[column].utf8)
    for text in question.texts {
      digest.update("\(text.first):\(text.tokens.map(String.init).joined(separator: ","));".utf8)
    }
    return digest.hexDigest()
  }
}
