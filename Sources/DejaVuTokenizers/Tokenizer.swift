/// The number by which a model knows a token.
public typealias TokenID = Int32

/// Turns text into token ids and back.
///
/// Nothing here traps or throws once a tokenizer is loaded: every text has ids, and ids that the
/// vocabulary does not hold decode to nothing.
public protocol Tokenizer: Sendable {
  /// One more than the highest token id; ids that a file leaves unused count too.
  var vocabularyCount: Int { get }

  /// The token that starts a text, if the model has one.
  var bosToken: TokenID? { get }

  /// The token that ends a text, if the model has one.
  var eosToken: TokenID? { get }

  /// The token that fills a batch, if the model has one.
  var padToken: TokenID? { get }

  /// The token that stands for what cannot be encoded; byte-level vocabularies never produce it.
  var unkToken: TokenID? { get }

  /// The ids of a text given as UTF-8.
  ///
  /// - Parameters:
  ///   - text: UTF-8; each ill-formed sequence counts as one U+FFFD.
  ///   - addingSpecialTokens: whether the model's own beginning and end are put around the text.
  ///   - parsingSpecialTokens: whether control-token text such as `</s>` becomes that token.
  ///     Leave it off for text from strangers: with it off such text is only text.
  /// - Returns: the ids, with the model's beginning and end if asked for.
  /// - Complexity: near-linear in the length of `text`, whatever it says.
  func encode(
    utf8 text: [UInt8], addingSpecialTokens: Bool, parsingSpecialTokens: Bool
  ) -> [TokenID]

  /// The bytes that a token stands for; empty for an id outside the vocabulary.
  func bytes(of id: TokenID) -> [UInt8]

  /// The id of the token spelled exactly so in the tokenizer's files (`"Ġthe"`, not `" the"`).
  func id(of token: String) -> TokenID?

  /// Whether the token steers the model and is no text of its own.
  func isSpecial(_ id: TokenID) -> Bool
}

extension Tokenizer {
  /// The ids of a text; see ``encode(utf8:addingSpecialTokens:parsingSpecialTokens:)``.
  public func encode(
    _ text: some StringProtocol, addingSpecialTokens: Bool, parsingSpecialTokens: Bool
  ) -> [TokenID] {
    encode(
      utf8: Array(text.utf8), addingSpecialTokens: addingSpecialTokens,
      parsingSpecialTokens: parsingSpecialTokens)
  }

  /// The text that the ids stand for.
  ///
  /// Bytes that are no UTF-8 become U+FFFD, one for each maximal ill-formed part, as in Python's
  /// `decode(errors="replace")`. Spaces are left as they are: there is no "clean-up".
  public func decode(_ ids: some Sequence<TokenID>, skippingSpecialTokens: Bool) -> String {
    var stream = TokenStream(tokenizer: self, skippingSpecialTokens: skippingSpecialTokens)
    var text: [UInt8] = []
    for id in ids { stream.append(id, to: &text) }
    stream.flush(to: &text)
    return String(decoding: text, as: UTF8.self)
  }
}

/// Loads the tokenizer of a model folder.
///
/// Reads `tokenizer.json`, or else `vocab.json` with `merges.txt`; and, where they exist,
/// `tokenizer_config.json`, `special_tokens_map.json` and `config.json`.
///
/// - Throws: ``TokenizerError`` when the files are missing, damaged or ask for something that
///   this package does not do. It never guesses: a tokenizer that loads gives the ids of the
///   reference implementation.
public func loadTokenizer(folder: String) throws(TokenizerError) -> any Tokenizer {
  try ByteLevelTokenizer(folder: TokenizerFolder(path: folder))
}
