import DejaVuJSON

/// What a tokenizer consists of, as its files say: the mirror of `tokenizer.json`.
///
/// `truncation` and `padding` are left to the caller and not read.
struct TokenizerFile {
  /// The file that errors about tokens and merges name.
  let name: String
  var model: BytePairModel
  var addedTokens: [AddedToken]
  var normalizer = Normalizer.none
  var preTokenizer: PreTokenizer
  var postProcessor = PostProcessor()

  /// More rules than any known tokenizer has; bounds what a hostile file can cost.
  static let mergeLimit = 4_000_000

  init(name: String, model: BytePairModel, addedTokens: [AddedToken], preTokenizer: PreTokenizer) {
    self.name = name
    self.model = model
    self.addedTokens = addedTokens
    self.preTokenizer = preTokenizer
  }

  /// Reads `tokenizer.json`.
  init(_ file: FileField) throws(TokenizerError) {
    name = file.file
    model = try Self.model(file.member("model"))
    addedTokens = try Self.addedTokens(file.member("added_tokens"))
    normalizer = try Normalizer(file.member("normalizer"))
    preTokenizer = try PreTokenizer(file.member("pre_tokenizer"))
    postProcessor = try PostProcessor(file.member("post_processor"))
    try Self.checkDecoder(file.member("decoder"))
  }

  private static func addedTokens(_ field: FileField) throws(TokenizerError) -> [AddedToken] {
    guard !field.isAbsent else { return [] }
    var tokens: [AddedToken] = []
    for element in try field.elements() {
      let id = try element.member("id").tokenID(of: element.member("content").bytes())
      let token = try AddedToken(element, id: id)
      // The reference implementation drops tokens without text, too.
      if !token.content.bytes.isEmpty { tokens.append(token) }
    }
    return tokens
  }

  private static func checkDecoder(_ field: FileField) throws(TokenizerError) {
    let type = try field.type()
    if type == "ByteLevel" { return }
    guard type == "Sequence" else { throw field.unsupported(type, supported: "ByteLevel") }
    let steps = try field.member("decoders").elements()
    for step in steps where try step.type() != "ByteLevel" {
      throw try step.unsupported(step.type(), supported: "ByteLevel")
    }
    guard steps.count == 1 else { throw field.unsupported("long", supported: "one ByteLevel") }
  }

  private static func model(_ field: FileField) throws(TokenizerError) -> BytePairModel {
    let type = try field.member("type")
    if let name = try type.optionalBytes()?.text, name != "BPE" {
      throw type.unsupported(name, supported: "BPE")
    }
    for option in ["continuing_subword_prefix", "end_of_word_suffix"] {
      let option = try field.member(option)
      if let affix = try option.optionalBytes(), !affix.bytes.isEmpty {
        throw option.unsupported(affix.text, supported: "none")
      }
    }
    let fallback = try field.member("byte_fallback")
    if try fallback.flag() ?? false { throw fallback.unsupported("true", supported: "false") }
    let dropout = try field.member("dropout")
    guard dropout.isAbsent || dropout.value?.double == 0 else {
      throw dropout.unsupported("present", supported: "no dropout")
    }
    return BytePairModel(
      vocabulary: try vocabulary(field.member("vocab")),
      merges: try merges(field.member("merges")),
      ignoresMerges: try field.member("ignore_merges").flag() ?? false)
  }

  static func vocabulary(_ field: FileField) throws(TokenizerError) -> [ByteString: TokenID] {
    var tokens: [ByteString: TokenID] = [:]
    let members = try field.members()
    tokens.reserveCapacity(members.count)
    for member in members {
      guard case .number(let number) = member.value else {
        throw FileField(
          file: field.file, path: "\(field.path)['\(member.key.text.prefix(64))']",
          value: member.value
        ).wrongType("a token id")
      }
      tokens[member.key] = try TokenID(number, of: member.key, file: field.file)
    }
    return tokens
  }

  /// Merge rules, each as `"a b"` or as `["a", "b"]`.
  private static func merges(
    _ field: FileField
  ) throws(TokenizerError) -> [(ByteString, ByteString)] {
    var merges: [(ByteString, ByteString)] = []
    for (rule, value) in try field.rawElements().enumerated() {
      switch value {
      case .string(let line):
        merges.append(try merge(line.bytes[...], rule: rule, file: field.file))
      case .array(let parts):
        guard parts.count == 2, let left = parts[0].bytes, let right = parts[1].bytes else {
          throw .malformedMerge(file: field.file, rule: rule, found: "an array of other things")
        }
        merges.append((left, right))
      default:
        throw .malformedMerge(file: field.file, rule: rule, found: value.kind)
      }
    }
    return merges
  }

  /// Two tokens with one space between them.
  static func merge(
    _ line: ArraySlice<UInt8>, rule: Int, file: String
  ) throws(TokenizerError) -> (ByteString, ByteString) {
    let parts = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
      throw .malformedMerge(
        file: file, rule: rule, found: String(decoding: line, as: UTF8.self))
    }
    return (ByteString(Array(parts[0])), ByteString(Array(parts[1])))
  }
}
