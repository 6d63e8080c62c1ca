import DejaVuCore
import DejaVuModels
import DejaVuTokenizers

/// Turns the texts of an item into tokens, as lm-evaluation-harness does.
struct TaskEncoder {
  let tokenizer: any Tokenizer
  /// Tokens that the model reads at once.
  let context: Int
  let task: String

  /// - Throws: ``TaskError/tooLong(task:item:tokens:limit:)`` or
  ///   ``TaskError/nothingToScore(task:item:)``.
  func text(_ request: TaskItem.Request, item: Int) throws(TaskError) -> ScoredText {
    let (before, after) = tokens(request)
    guard !after.isEmpty else { throw .nothingToScore(task: task, item: item) }
    guard after.count <= context else {
      throw .tooLong(task: task, item: item, tokens: after.count, limit: context)
    }
    // The last token is scored and never read, so that there is room for one more.
    let tokens = Array((before + after).suffix(context + 1))
    return ScoredText(tokens: tokens, first: tokens.count - after.count)
  }

  /// Context and continuation.
  ///
  /// Both are encoded together and parted where the context alone would
  /// end, since a tokenizer may join what stands on both sides of the seam.
  private func tokens(_ request: TaskItem.Request) -> ([TokenID], [TokenID]) {
    guard !request.context.isEmpty else {
      let after = encode(request.continuation, addingSpecialTokens: false)
      let start = tokenizer.bosToken ?? tokenizer.eosToken ?? 0
      return after.first == start ? ([start], Array(after.dropFirst())) : ([start], after)
    }
    // A space belongs to the word behind it.
    let (context, space) = PythonText.splitTrailingSpace(request.context)
    let before = encode(context, addingSpecialTokens: true)
    let whole = encode(context + space + request.continuation, addingSpecialTokens: true)
    return (before, Array(whole.dropFirst(before.count)))
  }

  private func encode(_ text: String, addingSpecialTokens: Bool) -> [TokenID] {
    tokenizer.encode(
      text, addingSpecialTokens: addingSpecialTokens, parsingSpecialTokens: true)
  }
}
