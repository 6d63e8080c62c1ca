package import DejaVuCore
package import DejaVuEvaluation
package import DejaVuTokenizers

/// A text divided by document into what is trained on and what is scored on.
package struct DividedText: Sendable {
  package let training: [[UInt8]]
  package let heldOut: [[UInt8]]

  /// Holds out every n-th document, so that both sides have the same mix however a file is ordered.
  ///
  /// - Throws: ``TrainingError/tooFewDocuments(found:)``.
  package init(_ text: EvaluationText) throws(TrainingError) {
    let count = text.documents.count
    guard count >= 2 else { throw .tooFewDocuments(found: count) }
    let step = max(2, Int(1 / TrainingShape.heldOutShare))
    let last = min(step, count) - 1
    training = text.documents.indices.filter { $0 % step != last }.map { text.documents[$0] }
    heldOut = text.documents.indices.filter { $0 % step == last }.map { text.documents[$0] }
  }
}

/// An endless sequence of windows over documents, in an order that a seed decides.
///
/// Documents are joined by an empty line, as perplexity joins them, and cut into windows that begin
/// with the beginning-of-text token where the tokenizer adds one. Nothing is tokenized before it is
/// needed.
package struct WindowStream {
  private let documents: [[UInt8]]
  private let tokenizer: any Tokenizer
  private let window: Int
  private let bos: TokenID?
  private let separator: [TokenID]
  private var random: SplitMix64
  private var order: [Int] = []
  private var pending: [TokenID] = []
  private static let leastTokens = 16

  package init(
    documents: [[UInt8]], tokenizer: any Tokenizer, window: Int, seed: UInt64
  ) {
    self.documents = documents
    self.tokenizer = tokenizer
    self.window = window
    random = SplitMix64(seed: seed)
    let prefix = tokenizer.encode("", addingSpecialTokens: true, parsingSpecialTokens: false)
    bos = prefix.first { $0 == tokenizer.bosToken }
    separator = tokenizer.encode(
      "\n\n", addingSpecialTokens: false, parsingSpecialTokens: false)
  }

  /// The next window: always `window` tokens; documents come again once all were read.
  ///
  /// - Throws: ``TrainingError/tooLittleText(tokens:needed:)`` where all of them are next to none.
  package mutating func next() throws(TrainingError) -> [TokenID] {
    let width = window - (bos == nil ? 0 : 1)
    var sinceOrder: Int?
    while pending.count < width {
      if order.isEmpty {
        if let sinceOrder, pending.count - sinceOrder < Self.leastTokens {
          throw .tooLittleText(tokens: pending.count - sinceOrder, needed: Self.leastTokens)
        }
        sinceOrder = pending.count
        order = random.permutation(documents.count)
      }
      let document = documents[order.removeLast()]
      pending += tokenizer.encode(
        utf8: document, addingSpecialTokens: false, parsingSpecialTokens: true)
      pending += separator
    }
    defer { pending.removeFirst(width) }
    return (bos.map { [$0] } ?? []) + pending.prefix(width)
  }
}
