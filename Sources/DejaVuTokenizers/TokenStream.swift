/// Turns token ids into valid text as they come, one at a time.
///
/// A token may end in the middle of a character; what is not yet a character is held back until
/// it is one, or is known to be none. All pieces together are exactly the text of
/// ``Tokenizer/decode(_:skippingSpecialTokens:)``.
public struct TokenStream: Sendable {
  private let tokenizer: any Tokenizer
  private let skippingSpecialTokens: Bool
  private var repair = UTF8Repair()

  /// Starts a stream before its first token.
  public init(tokenizer: any Tokenizer, skippingSpecialTokens: Bool) {
    self.tokenizer = tokenizer
    self.skippingSpecialTokens = skippingSpecialTokens
  }

  /// The text that became certain with this token; often a word, sometimes nothing.
  public mutating func append(_ id: TokenID) -> String {
    var text: [UInt8] = []
    append(id, to: &text)
    return String(decoding: text, as: UTF8.self)
  }

  /// Ends the text: a character that never came to its end becomes U+FFFD.
  public mutating func flush() -> String {
    var text: [UInt8] = []
    flush(to: &text)
    return String(decoding: text, as: UTF8.self)
  }

  mutating func append(_ id: TokenID, to text: inout [UInt8]) {
    if skippingSpecialTokens, tokenizer.isSpecial(id) { return }
    for byte in tokenizer.bytes(of: id) { repair.feed(byte, to: &text) }
  }

  mutating func flush(to text: inout [UInt8]) { repair.flush(to: &text) }
}
