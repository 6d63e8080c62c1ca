import DejaVuJSON

extension TokenizerFile {
  /// Model types whose `vocab.json` and `merges.txt` mean GPT-2's way of cutting words.
  private static let modelTypes: Set<String> = ["gpt2", "gpt_neo", "gptj", "opt"]

  /// Reads `vocab.json` and `merges.txt`, GPT-2's file format, which says nothing about how text
  /// is cut into words; so this holds only for the models known to cut as GPT-2 does.
  init(
    mergesOf folder: TokenizerFolder, settings: TokenizerSettings
  ) throws(TokenizerError) {
    if let type = settings.modelType, !Self.modelTypes.contains(type) {
      throw .unsupported(
        file: "config.json", field: "model_type",
        supported: "one of \(Self.modelTypes.sorted().joined(separator: ", ")), "
          + "when there is no tokenizer.json,", found: type)
    }
    guard folder.has("vocab.json"), let merges = try folder.read("merges.txt") else {
      throw .noTokenizer(folder: folder.path)
    }
    let model = BytePairModel(
      vocabulary: try Self.vocabulary(folder.json("vocab.json")),
      merges: try Self.merges(lines: merges))
    let prefix: [PreTokenizer.Step] = settings.addsPrefixSpace ? [.prefixSpace] : []
    self.init(
      name: "vocab.json", model: model,
      addedTokens: try Self.addedTokens(folder, settings: settings),
      preTokenizer: PreTokenizer(steps: prefix + [.split(.gpt2)]))
  }

  private static func merges(
    lines text: [UInt8]
  ) throws(TokenizerError) -> [(ByteString, ByteString)] {
    var merges: [(ByteString, ByteString)] = []
    for line in text.split(separator: UInt8(ascii: "\n")) {
      let rule = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      if rule.isEmpty || rule.starts(with: "#version".utf8) { continue }
      merges.append(try merge(rule, rule: merges.count, file: "merges.txt"))
      guard merges.count <= mergeLimit else {
        throw .unsupported(
          file: "merges.txt", field: "merges", supported: "up to \(mergeLimit) rules",
          found: "more")
      }
    }
    return merges
  }

  /// The tokens of `added_tokens_decoder`, or else those of the older `added_tokens.json`.
  private static func addedTokens(
    _ folder: TokenizerFolder, settings: TokenizerSettings
  ) throws(TokenizerError) -> [AddedToken] {
    guard settings.addedTokens.isEmpty else { return settings.addedTokens }
    let file = try folder.json("added_tokens.json")
    guard !file.isAbsent else { return [] }
    return try vocabulary(file).sorted { $0.value < $1.value }.map { content, id in
      AddedToken(id: id, content: content, isSpecial: false)
    }
  }
}
