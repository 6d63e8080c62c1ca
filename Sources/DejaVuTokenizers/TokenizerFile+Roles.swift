import DejaVuJSON

extension TokenizerFile {
  /// GPT-2's only special token, which its files need not name.
  private static let endOfText: ByteString = "<|endoftext|>"

  var specialIDs: Set<TokenID> { Set(addedTokens.lazy.filter(\.isSpecial).map(\.id)) }

  /// Finds the tokens that the settings name, and makes them special if they are not yet.
  ///
  /// A beginning or end of text that the vocabulary lacks is an error. A missing padding or
  /// unknown token does no harm to one text at a time; it is then nil.
  mutating func assignRoles(
    _ settings: TokenizerSettings
  ) throws(TokenizerError) -> [TokenizerSettings.Role: TokenID] {
    var roles: [TokenizerSettings.Role: TokenID] = [:]
    for role in TokenizerSettings.Role.allCases {
      guard let name = settings.names[role] else {
        roles[role] = makeDefaultSpecial(role, settings)
        continue
      }
      roles[role] = makeSpecial(name.content)
      guard roles[role] != nil || role == .pad || role == .unk else {
        throw .unknownSpecialToken(file: name.file, field: name.field, token: name.content.text)
      }
    }
    return roles
  }

  /// The token that a model type uses when its files name none.
  private mutating func makeDefaultSpecial(
    _ role: TokenizerSettings.Role, _ settings: TokenizerSettings
  ) -> TokenID? {
    switch (role, settings.modelType) {
    case (.bos, "opt"), (.eos, "opt"): makeSpecial("</s>")
    case (.bos, "gpt2"), (.eos, "gpt2"), (.bos, nil), (.eos, nil): makeSpecial(Self.endOfText)
    default: nil
    }
  }

  private mutating func makeSpecial(_ content: ByteString) -> TokenID? {
    if let index = addedTokens.firstIndex(where: { $0.content == content }) {
      addedTokens[index].isSpecial = true
      return addedTokens[index].id
    }
    guard !content.bytes.isEmpty, content.bytes.count <= AddedToken.lengthLimit,
      let id = model.vocabulary[content]
    else { return nil }
    addedTokens.append(AddedToken(id: id, content: content))
    return id
  }

  /// Lets the flags for beginning and end, where stated, replace the post-processor.
  ///
  /// So does `transformers` with `add_bos_token` and `add_eos_token`. OPT begins every text with its special token unless told otherwise.
  mutating func applyFlags(
    of settings: TokenizerSettings, roles: [TokenizerSettings.Role: TokenID]
  ) {
    var addsBOS = settings.addsBOS
    if name == "vocab.json", settings.modelType == "opt" { addsBOS = addsBOS ?? true }
    guard addsBOS != nil || settings.addsEOS != nil else { return }
    func marks(_ role: TokenizerSettings.Role, _ wanted: Bool?) -> [PostProcessor.Mark] {
      guard wanted ?? false, let id = roles[role] else { return [] }
      return [PostProcessor.Mark(id: id, field: role.rawValue, name: role.rawValue)]
    }
    postProcessor = PostProcessor(
      before: marks(.bos, addsBOS), after: marks(.eos, settings.addsEOS))
  }
}
