/// Items, results or a journal that cannot be used.
@nonexhaustive
package enum TaskError: Error, Hashable, Sendable {
  /// None of a task's files is in the data folder.
  case noData(task: String, folder: String, wanted: [String])
  /// A file that the system does not hand out.
  case unreadable(path: String, reason: String)
  /// A file that cannot be written.
  case unwritable(path: String, reason: String)
  /// A line of a data file is not an item of its task.
  case malformed(path: String, line: Int, reason: String)
  /// A file has no items.
  case empty(path: String)
  /// Fewer items than examples that should stand in front of each.
  case tooFewExamples(task: String, asked: Int, found: Int)
  /// An item whose continuation alone is longer than the model's context.
  case tooLong(task: String, item: Int, tokens: Int, limit: Int)
  /// An item whose continuation has no tokens.
  case nothingToScore(task: String, item: Int)
  /// Not a result of `eval --tasks --json`.
  case noResult(path: String, reason: String)
  /// A journal with lines that no run has written.
  case damagedJournal(path: String, line: Int)
  /// Another run is writing the journal.
  case journalInUse(path: String)
  /// Two runs that have no item in common.
  case nothingShared(first: String, second: String)
}

extension TaskError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .noData(let task, let folder, let wanted):
      "'\(folder)' has no items of '\(task)'; put them there as one of "
        + wanted.joined(separator: ", ")
    case .unreadable(let path, let reason): "cannot read '\(path)': \(reason)"
    case .unwritable(let path, let reason): "cannot write '\(path)': \(reason)"
    case .malformed(let path, let line, let reason):
      "line \(line) of '\(path)' is no item: \(reason); take the file as its authors publish it"
    case .empty(let path): "'\(path)' has no items; take another file"
    case .tooFewExamples(let task, let asked, let found):
      "\(asked) examples of '\(task)' are asked for and there are \(found) beside the item; "
        + "take fewer --shots or a larger file"
    case .tooLong(let task, let item, let tokens, let limit):
      "item \(item) of '\(task)' has a continuation of \(tokens) tokens and the model reads \(limit); "
        + "leave the item out"
    case .nothingToScore(let task, let item):
      "item \(item) of '\(task)' has a continuation without tokens; leave the item out"
    case .noResult(let path, let reason):
      "'\(path)' is no result of 'dejavu eval --tasks ... --json': \(reason); name one with --against"
    case .damagedJournal(let path, let line):
      "line \(line) of the journal '\(path)' was not written by this program; "
        + "name another file with --journal"
    case .journalInUse(let path):
      "another run is writing the journal '\(path)'; wait for it or name another file"
    case .nothingShared(let first, let second):
      "'\(first)' and '\(second)' have no item in common; compare runs of the same tasks, --shots "
        + "and --seed"
    }
  }
}
