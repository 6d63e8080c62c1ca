import DejaVuJSON

/// Byte-level byte-pair encoding, as GPT-2, OPT, Llama 3 and Qwen 2 use it.
///
/// text → added tokens and stretches between them → normalized → words → bytes → merged tokens.
struct ByteLevelTokenizer: Tokenizer {
  private let vocabulary: Vocabulary
  private let merger: BytePairMerger
  private let normalizer: Normalizer
  private let preTokenizer: PreTokenizer
  private let rawMatcher: AddedTokenMatcher
  private let normalizedMatcher: AddedTokenMatcher
  private let before: [TokenID]
  private let after: [TokenID]
  private let roles: [TokenizerSettings.Role: TokenID]

  var vocabularyCount: Int { vocabulary.count }
  var bosToken: TokenID? { roles[.bos] }
  var eosToken: TokenID? { roles[.eos] }
  var padToken: TokenID? { roles[.pad] }
  var unkToken: TokenID? { roles[.unk] }

  init(folder: TokenizerFolder) throws(TokenizerError) {
    let settings = try TokenizerSettings(folder)
    var file =
      folder.has("tokenizer.json")
      ? try TokenizerFile(folder.json("tokenizer.json"))
      : try TokenizerFile(mergesOf: folder, settings: settings)
    roles = try file.assignRoles(settings)
    file.applyFlags(of: settings, roles: roles)
    vocabulary = try Vocabulary(
      file.model.vocabulary, addedTokens: file.addedTokens, file: file.name)
    before = try Self.ids(file.postProcessor.before, in: vocabulary, file: file.name)
    after = try Self.ids(file.postProcessor.after, in: vocabulary, file: file.name)
    merger = try BytePairMerger(file.model, special: file.specialIDs, file: file.name)
    normalizer = file.normalizer
    preTokenizer = file.preTokenizer
    rawMatcher = AddedTokenMatcher(
      file.addedTokens.filter { !$0.isNormalized }, normalizer: .none)
    normalizedMatcher = AddedTokenMatcher(
      file.addedTokens.filter(\.isNormalized), normalizer: normalizer)
  }

  private static func ids(
    _ marks: [PostProcessor.Mark], in vocabulary: Vocabulary, file: String
  ) throws(TokenizerError) -> [TokenID] {
    for mark in marks where !vocabulary.contains(mark.id) {
      throw .unknownSpecialToken(file: file, field: mark.field, token: mark.name)
    }
    return marks.map(\.id)
  }

  func encode(
    utf8 text: [UInt8], addingSpecialTokens: Bool, parsingSpecialTokens: Bool
  ) -> [TokenID] {
    var ids = addingSpecialTokens ? before : []
    var workspace = BytePairMerger.Workspace()
    rawMatcher.forEachSegment(
      in: UTF8Repair.wellFormed(text)[...], parsingSpecialTokens: parsingSpecialTokens
    ) { segment in
      guard case .text(let stretch) = segment else { return segment.append(to: &ids) }
      normalizedMatcher.forEachSegment(
        in: normalizer.apply(to: stretch), parsingSpecialTokens: parsingSpecialTokens
      ) { segment in
        guard case .text(let stretch) = segment else { return segment.append(to: &ids) }
        preTokenizer.forEachWord(in: stretch) { word in
          merger.encode(word, to: &ids, using: &workspace)
        }
      }
    }
    return addingSpecialTokens ? ids + after : ids
  }

  func bytes(of id: TokenID) -> [UInt8] { vocabulary.bytes(of: id) }
  func id(of token: String) -> TokenID? { vocabulary.id(of: ByteString(token)) }
  func isSpecial(_ id: TokenID) -> Bool { vocabulary.isSpecial(id) }
}

extension AddedTokenMatcher.Segment {
  fileprivate func append(to ids: inout [TokenID]) {
    if case .token(let id) = self { ids.append(id) }
  }
}
