import DejaVuJSON

/// Both directions between token ids and what they stand for.
struct Vocabulary: Sendable {
  private var ids: [ByteString: TokenID]
  private var contents: [TokenID: [UInt8]] = [:]
  private var special: Set<TokenID> = []
  /// One more than the highest id.
  private(set) var count = 0

  /// - Throws: when two tokens share an id, or one token has two.
  init(
    _ tokens: [ByteString: TokenID], addedTokens: [AddedToken], file: String
  ) throws(TokenizerError) {
    ids = tokens
    contents.reserveCapacity(tokens.count + addedTokens.count)
    for (spelling, id) in tokens {
      let old = contents.updateValue(ByteLevelAlphabet.bytes(spelledBy: spelling), forKey: id)
      guard old == nil else { throw duplicate(id, file: file) }
      count = max(count, Int(id) + 1)
    }
    for token in addedTokens { try add(token, file: file) }
  }

  /// Added tokens stand for their own text, also where their characters could spell bytes.
  private mutating func add(_ token: AddedToken, file: String) throws(TokenizerError) {
    if let known = ids[token.content] {
      guard known == token.id else {
        throw .conflictingIDs(
          file: file, token: token.content.text, ids: [known, token.id])
      }
    } else {
      ids[token.content] = token.id
      guard contents[token.id] == nil else { throw duplicate(token.id, file: file) }
    }
    contents[token.id] = token.content.bytes
    count = max(count, Int(token.id) + 1)
    if token.isSpecial { special.insert(token.id) }
  }

  private func duplicate(_ id: TokenID, file: String) -> TokenizerError {
    let tokens = ids.filter { $0.value == id }.map(\.key).sorted().prefix(4)
    return .duplicateID(file: file, id: id, tokens: tokens.map(\.text))
  }

  func id(of token: ByteString) -> TokenID? { ids[token] }
  func bytes(of id: TokenID) -> [UInt8] { contents[id] ?? [] }
  func isSpecial(_ id: TokenID) -> Bool { special.contains(id) }
  func contains(_ id: TokenID) -> Bool { contents[id] != nil }
}
