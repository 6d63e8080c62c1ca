import DejaVuTokenizers
import Foundation
import Testing

/// Special tokens by role, and what is put around a text.
@Suite struct SpecialTokenTests {
  private func load(
    _ files: [String: String], change: (inout SmallTokenizer) -> Void = { _ in }
  ) throws -> any Tokenizer {
    var small = SmallTokenizer()
    small.added = #"""
      [{"id": 260, "content": "<end>", "special": true}, {"id": 261, "content": "<begin>"}]
      """#
    change(&small)
    let files = files.merging(["tokenizer.json": small.json]) { old, _ in old }
    return try withFolder(files) { try loadTokenizer(folder: $0.path) }
  }

  private func ids(_ tokenizer: any Tokenizer, _ text: String = "he") -> [TokenID] {
    tokenizer.encode(text, addingSpecialTokens: true, parsingSpecialTokens: false)
  }

  @Test func `roles are named by strings or objects, and the newer file counts first`() throws {
    let tokenizer = try load([
      "tokenizer_config.json": #"{"bos_token": {"content": "<begin>"}, "pad_token": null}"#,
      "special_tokens_map.json": #"{"bos_token": "<end>", "eos_token": "<end>", "pad_token": "!"}"#,
    ])
    #expect(tokenizer.bosToken == 261)
    #expect(tokenizer.eosToken == 260)
    #expect(tokenizer.padToken == 0)
    #expect(tokenizer.unkToken == nil)
    #expect(tokenizer.isSpecial(261), "a named token is special, whatever its flag says")
  }

  @Test func `without names there are no roles`() throws {
    let tokenizer = try load([:])
    #expect(tokenizer.bosToken == nil && tokenizer.eosToken == nil)
    #expect(ids(tokenizer) == [256])
  }

  @Test(arguments: ["bos_token", "eos_token"])
  func `a beginning or end outside the vocabulary is refused`(role: String) {
    #expect(throws: TokenizerError.self) {
      try load(["tokenizer_config.json": #"{"\#(role)": "<none>"}"#])
    }
    #expect(throws: TokenizerError.self) {
      try load(["tokenizer_config.json": #"{"\#(role)": ""}"#])
    }
    #expect(throws: TokenizerError.self) {
      try load(["tokenizer_config.json": #"{"\#(role)": 3}"#])
    }
  }

  @Test(arguments: ["pad_token", "unk_token"])
  func `a padding or unknown token outside the vocabulary is none`(role: String) throws {
    let tokenizer = try load(["tokenizer_config.json": #"{"\#(role)": "<none>"}"#])
    #expect(tokenizer.padToken == nil && tokenizer.unkToken == nil)
  }

  static let template = #"""
    {"type": "TemplateProcessing",
     "single": [{"SpecialToken": {"id": "B"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "E"}}],
     "special_tokens": {"B": {"id": "B", "ids": [261, 261]}, "E": {"id": "E", "ids": [260]}}}
    """#
  static let roberta =
    #"{"type": "RobertaProcessing", "sep": ["<end>", 260], "cls": ["<begin>", 261]}"#

  @Test func `post-processors put their tokens around the text`() throws {
    let nested =
      #"{"type": "Sequence", "processors": [\#(Self.roberta), {"type": "ByteLevel"}, "#
      + #"\#(Self.template)]}"#
    for (step, expected): (String, [TokenID]) in [
      ("null", [256]), (#"{"type": "ByteLevel"}"#, [256]), (Self.roberta, [261, 256, 260]),
      (Self.template, [261, 261, 256, 260]), (nested, [261, 261, 261, 256, 260, 260]),
    ] {
      let tokenizer = try load([:]) { $0.postProcessor = step }
      #expect(ids(tokenizer) == expected)
      #expect(
        tokenizer.encode("he", addingSpecialTokens: false, parsingSpecialTokens: true) == [256])
    }
  }

  @Test func `stated flags replace the post-processor`() throws {
    let names = #""bos_token": "<begin>", "eos_token": "<end>""#
    for (flags, expected): (String, [TokenID]) in [
      ("", [261, 256, 260]), (#", "add_bos_token": true"#, [261, 256]),
      (#", "add_bos_token": false"#, [256]), (#", "add_bos_token": null"#, [261, 256, 260]),
      (#", "add_eos_token": true"#, [256, 260]),
    ] {
      let tokenizer = try load(["tokenizer_config.json": "{\(names)\(flags)}"]) {
        $0.postProcessor = Self.roberta
      }
      #expect(ids(tokenizer) == expected, "\(flags)")
    }
  }

  @Test func `a prefix space goes before every stretch that has none`() throws {
    let tokenizer = try load([:]) { $0.preTokenizer = #"{"type": "ByteLevel"}"# }
    let space = try #require(tokenizer.id(of: "Ġ"))
    let ids = tokenizer.encode(
      "he<end>he<end> he", addingSpecialTokens: false, parsingSpecialTokens: true)
    #expect(ids == [space, 256, 260, space, 256, 260, space, 256])
    #expect(tokenizer.encode("", addingSpecialTokens: false, parsingSpecialTokens: true) == [])
  }

  @Test func `a word that is a token as a whole skips merging only where the file says so`() throws
  {
    for (option, expected): (String, [TokenID]) in [("true", [259]), ("false", [258, 78])] {
      let tokenizer = try load([:]) {
        $0.merges = #"["h e", "l l", "he ll"]"#
        $0.modelOptions += #", "ignore_merges": \#(option)"#
      }
      #expect(tokenizer.id(of: "o") == 78)
      #expect(ids(tokenizer, "hello") == expected)
    }
  }

  private func loadMerges(
    config: String?, tokenizerConfig: String = "{}", vocabulary: String = ""
  ) throws -> any Tokenizer {
    var files = [
      "vocab.json": "{\(SmallTokenizer.bytes), \"he\": 256, \"</s>\": 257\(vocabulary)}",
      "merges.txt": "#version: 0.2\nh e\r\n\n", "tokenizer_config.json": tokenizerConfig,
    ]
    files["config.json"] = config
    return try withFolder(files) { try loadTokenizer(folder: $0.path) }
  }

  @Test func `OPT begins a text with its special token and GPT-2 with nothing`() throws {
    let opt = try loadMerges(config: #"{"model_type": "opt"}"#)
    #expect(ids(opt) == [257, 256])
    #expect(opt.bosToken == 257 && opt.eosToken == 257)
    let told = try loadMerges(
      config: #"{"model_type": "opt"}"#, tokenizerConfig: #"{"add_bos_token": false}"#)
    #expect(ids(told) == [256])
    for config in [nil, #"{"model_type": "gpt2"}"#] {
      let gpt2 = try loadMerges(config: config, vocabulary: #", "<|endoftext|>": 258"#)
      #expect(ids(gpt2) == [256])
      #expect(gpt2.bosToken == 258 && gpt2.eosToken == 258)
      #expect(gpt2.isSpecial(258))
    }
  }

  @Test func `added tokens of the older files are found`() throws {
    let tokenizer = try loadMerges(
      config: nil,
      tokenizerConfig: #"{"added_tokens_decoder": {"300": {"content": "<x>", "special": true}}}"#)
    let ids = tokenizer.encode("he<x>", addingSpecialTokens: true, parsingSpecialTokens: true)
    #expect(ids == [256, 300])
    #expect(throws: TokenizerError.self) {
      try loadMerges(
        config: nil, tokenizerConfig: #"{"added_tokens_decoder": {"x": {"content": "<x>"}}}"#)
    }
  }

  @Test func `vocab and merges of a model that cuts words otherwise are refused`() {
    #expect(throws: TokenizerError.self) { try loadMerges(config: #"{"model_type": "qwen2"}"#) }
  }
}
