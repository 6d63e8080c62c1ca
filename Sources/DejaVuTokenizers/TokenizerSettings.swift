import DejaVuJSON

/// What the files beside the vocabulary say: special tokens by role, and how texts begin and end.
struct TokenizerSettings {
  enum Role: String, CaseIterable {
    case bos = "bos_token"
    case eos = "eos_token"
    case pad = "pad_token"
    case unk = "unk_token"
  }

  /// A token that a file names, with the place where it does.
  struct NamedToken {
    let content: ByteString
    let file: String
    let field: String
  }

  private(set) var names: [Role: NamedToken] = [:]
  let addsBOS: Bool?
  let addsEOS: Bool?
  let addsPrefixSpace: Bool
  /// From `added_tokens_decoder`; counts only where there is no `tokenizer.json`.
  let addedTokens: [AddedToken]
  let modelType: String?

  init(_ folder: TokenizerFolder) throws(TokenizerError) {
    let config = try folder.json("tokenizer_config.json")
    let map = try folder.json("special_tokens_map.json")
    for role in Role.allCases {
      // The newer file first; the older one only fills in.
      for file in [config, map] where names[role] == nil {
        names[role] = try Self.name(of: role, in: file)
      }
    }
    addsBOS = try config.member("add_bos_token").flag()
    addsEOS = try config.member("add_eos_token").flag()
    addsPrefixSpace = try config.member("add_prefix_space").flag() ?? false
    addedTokens = try Self.addedTokens(config.member("added_tokens_decoder"))
    let type = try folder.json("config.json").member("model_type")
    modelType = try type.optionalBytes()?.text
  }

  /// A token given as a string, or as an object with its `content`.
  private static func name(
    of role: Role, in file: FileField
  ) throws(TokenizerError) -> NamedToken? {
    let field = try file.member(role.rawValue)
    guard let value = field.value else { return nil }
    let content = value.bytes == nil ? try field.member("content") : field
    return NamedToken(content: try content.bytes(), file: file.file, field: role.rawValue)
  }

  /// An object of added tokens keyed by their ids in decimal.
  private static func addedTokens(_ field: FileField) throws(TokenizerError) -> [AddedToken] {
    guard !field.isAbsent else { return [] }
    var tokens: [AddedToken] = []
    for member in try field.members() {
      let token = FileField(
        file: field.file, path: "\(field.path).\(member.key.text)", value: member.value)
      let id = try TokenID(
        JSONNumber(spelling: member.key.text), of: token.member("content").bytes(),
        file: field.file)
      tokens.append(try AddedToken(token, id: id))
    }
    return tokens
  }
}
