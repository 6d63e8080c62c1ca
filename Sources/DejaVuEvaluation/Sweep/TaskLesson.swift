package import DejaVu
import DejaVuCore

/// Texts of a task that selectors may learn from.
package enum TaskLesson {
  /// Items that are read; a set for all tokens settles with fewer.
  private static let items = 200
  /// With fewer items left, those that are scored are learned from as well.
  private static let least = 20

  /// Solved items that a run of the same options does not ask.
  ///
  /// - Parameters:
  ///   - file: the task.
  ///   - model: whose tokenizer cuts the texts.
  ///   - seed: of the items that are asked.
  ///   - limit: how many are asked; nil is all.
  /// - Returns: tokens of each, question and right answer, and whether no item of them is asked.
  /// - Throws: ``TaskError``.
  package static func windows(
    of file: TaskFile, model: LanguageModel, seed: UInt64, limit: Int?
  ) throws(TaskError) -> (windows: [[TokenID]], isApart: Bool) {
    let asked = Set(
      try TaskExamples(file: file, shots: 0, seed: seed).items(limit).map(\.index))
    var pool =
      file.training.isEmpty
      ? file.items.filter { !asked.contains($0.index) } : file.training
    let isApart = pool.count >= least
    if !isApart { pool = file.items }
    let encoder = TaskEncoder(
      tokenizer: model.tokenizer, context: model.architecture.context, task: file.name)
    var windows: [[TokenID]] = []
    for place in 0..<min(items, pool.count) {
      let item = pool[place * pool.count / min(items, pool.count)]
      let requests = item.requests()
      let text = try encoder.text(requests[min(item.gold, requests.count - 1)], item: item.index)
      windows.append(Array(text.tokens.prefix(model.architecture.context)))
    }
    return (windows, isApart)
  }
}
