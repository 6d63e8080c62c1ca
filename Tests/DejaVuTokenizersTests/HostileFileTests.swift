import DejaVuTokenizers
import Foundation
import Testing

/// Files that are missing, damaged or lying: a typed error, never a trap.
@Suite struct HostileFileTests {
  @Test func `the small tokenizer of these tests loads`() throws {
    let tokenizer = try load(SmallTokenizer())
    let ids = tokenizer.encode(
      "hello<end>", addingSpecialTokens: true, parsingSpecialTokens: true)
    #expect(ids == [259, 260])
    #expect(tokenizer.vocabularyCount == 261)
  }

  @Test func `a folder without tokenizer says so`() throws {
    #expect(try error(of: [:]).isNoTokenizer)
    #expect(try error(of: ["vocab.json": "{}"]).isNoTokenizer)
    #expect(try error(of: ["merges.txt": "a b"]).isNoTokenizer)
    #expect(throws: TokenizerError.self) { try loadTokenizer(folder: "/nonexistent/\0/x") }
    #expect(throws: TokenizerError.self) { try loadTokenizer(folder: "") }
  }

  @Test(arguments: [
    "", "{", "[]", "null", "3", "{}", "{\"model\": 1}", "{\"model\": []}", "\u{FEFF}{}",
    "{\"model\": {\"vocab\": [], \"merges\": []}}", "{\"model\": {\"vocab\": {}, \"merges\": []}}",
    String(repeating: "[", count: 100_000),
  ])
  func `what is no tokenizer file is refused`(text: String) throws {
    _ = try error(of: ["tokenizer.json": text])
  }

  @Test func `a file that is too large is not read`() throws {
    try withFolder(["tokenizer.json": ""]) { folder in
      let file = try FileHandle(forWritingTo: folder.appendingPathComponent("tokenizer.json"))
      try file.truncate(atOffset: 200 << 20)
      try file.close()
      let error = #expect(throws: TokenizerError.self) { try loadTokenizer(folder: folder.path) }
      guard case .fileTooLarge(_, 209_715_200, _) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
    }
  }

  @Test func `a folder in place of a file is refused`() throws {
    try withFolder([:]) { folder in
      try FileManager.default.createDirectory(
        at: folder.appendingPathComponent("tokenizer.json"), withIntermediateDirectories: false)
      #expect(throws: TokenizerError.self) { try loadTokenizer(folder: folder.path) }
    }
  }

  @Test(arguments: [
    "-1", "-9223372036854775808", "16777216", "4294967295", "9223372036854775808", "1e400", "1.5",
    "0.0", "1e2", "\"7\"", "null", "true", "[]", "{}", "259",
  ])
  func `an id that is none, or is taken, is refused`(id: String) throws {
    let entry = #", "<0x-1>": \#(id)"#
    _ = try error { $0.vocabulary += entry }
    _ = try error { $0.added = #"[{"id": \#(id), "content": "<0xGG>"}]"# }
    _ = try error(of: ["vocab.json": "{\"a\": \(id), \"b\": 259}", "merges.txt": ""])
  }

  @Test func `gaps between ids are tolerated`() throws {
    let tokenizer = try load { $0.vocabulary += #", "<0x-1>": 16777215, "<0xGG>": 5000"# }
    #expect(tokenizer.vocabularyCount == 1 << 24)
    #expect(tokenizer.bytes(of: 4999) == [])
    #expect(String(decoding: tokenizer.bytes(of: 5000), as: UTF8.self) == "<0xGG>")
  }

  @Test func `a byte without token is refused`() throws {
    _ = try error { $0.vocabulary = $0.vocabulary.replacing("\"A\": 32, ", with: "") }
  }

  @Test(arguments: [
    #"["h x", "q zz"]"#, #"["e h"]"#, #"["h  e"]"#, #"["he"]"#, #"[""]"#, #"[" "]"#, #"["h e l"]"#,
    #"[["h"]]"#, #"[["h", "e", "l"]]"#, #"[["h", 1]]"#, #"[[]]"#, "[null]", "[1]", "[{}]", "{}",
    "null",
    #"["h \u0000"]"#,
  ])
  func `a merge of unknown tokens, or of none, is refused`(merges: String) throws {
    _ = try error { $0.merges = merges }
  }

  @Test func `a merge listed twice has its last rank`() throws {
    let tokenizer = try load { $0.merges = #"["l l", "h e", ["l", "l"], "he ll"]"# }
    #expect(
      tokenizer.encode("hell", addingSpecialTokens: false, parsingSpecialTokens: false) == [258])
  }

  @Test func `a token with two ids is refused`() throws {
    _ = try error { $0.added = #"[{"id": 300, "content": "hello"}]"# }
    _ = try error { $0.added = #"[{"id": 300, "content": "x!"}, {"id": 301, "content": "x!"}]"# }
    _ = try error { $0.vocabulary += #", "he": 300"# }
  }

  @Test(arguments: [
    #"[{"id": 260}]"#, #"[{"content": "x!"}]"#, #"[{"id": 260, "content": 3}]"#, #"[3]"#, #"{}"#,
    #"[{"id": 260, "content": "x!", "lstrip": "yes"}]"#,
    #"[{"id": 260, "content": "\#(String(repeating: "x", count: 1025))"}]"#,
  ])
  func `a malformed added token is refused`(added: String) throws {
    _ = try error { $0.added = added }
  }

  @Test func `an added token without text is left out`() throws {
    let tokenizer = try load { $0.added = #"[{"id": 260, "content": ""}]"# }
    #expect(tokenizer.vocabularyCount == 260)
    #expect(
      tokenizer.encode("he", addingSpecialTokens: true, parsingSpecialTokens: true) == [256])
  }

  @Test(arguments: [
    "(a+)+$", "", #"\\p{L}+"#, #"'(?i:[sdmt])|\\s"#,
  ])
  func `an unknown regular expression is refused`(regex: String) throws {
    let error = try error {
      $0.preTokenizer = #"""
        {"type": "Sequence", "pretokenizers": [
          {"type": "Split", "pattern": {"Regex": "\#(regex)"}, "behavior": "Isolated"},
          {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}
        """#
    }
    guard case .unsupported(_, "pre_tokenizer.pretokenizers[0].pattern.Regex", _, _) = error else {
      Issue.record("\(error)")
      return
    }
  }

  @Test(arguments: [
    "null", "3", "{}", #"{"type": 3}"#, #"{"type": "Whitespace"}"#,
    #"{"type": "Sequence", "pretokenizers": []}"#, #"{"type": "Sequence"}"#,
    #"{"type": "ByteLevel", "add_prefix_space": "no"}"#,
    #"{"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "ByteLevel"}]}"#,
    #"{"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated"}"#,
    #"{"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Removed"}"#,
  ])
  func `an unknown way to cut words is refused`(step: String) throws {
    _ = try error { $0.preTokenizer = step }
  }

  @Test(arguments: [
    #"{"type": "NFKC"}"#, #"{"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}"#, "1",
    #"{"type": "Sequence", "normalizers": 1}"#,
  ])
  func `an unknown normalizer is refused`(step: String) throws {
    _ = try error { $0.normalizer = step }
  }

  @Test(arguments: ["null", #"{"type": "WordPiece"}"#, #"{"type": "Sequence", "decoders": []}"#])
  func `an unknown decoder is refused`(step: String) throws {
    _ = try error { $0.decoder = step }
  }

  @Test(arguments: [
    #""type": "Unigram""#, #""type": 1"#, #""byte_fallback": true"#, #""dropout": 0.1"#,
    #""end_of_word_suffix": "</w>""#, #""continuing_subword_prefix": "@@""#,
    #""ignore_merges": 1"#,
  ])
  func `an unknown kind of model is refused`(options: String) throws {
    _ = try error { $0.modelOptions = options }
  }

  @Test(arguments: [
    #"{"type": "Other"}"#, #"{"type": "RobertaProcessing"}"#, "[]",
    #"{"type": "RobertaProcessing", "sep": ["<end>", 260], "cls": ["<s>"]}"#,
    #"{"type": "RobertaProcessing", "sep": ["<end>", 260], "cls": ["<s>", 9999]}"#,
    #"{"type": "TemplateProcessing", "single": []}"#,
    #"{"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}]}"#,
    #"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]}"#,
    #"{"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"Sequence": {"id": "A"}}]}"#,
  ])
  func `a post-processor that names nothing known is refused`(step: String) throws {
    _ = try error { $0.postProcessor = step }
  }

  @Test func `every error ends in what to do, and shows no control characters`() throws {
    let errors = [
      try error(of: [:]), try error(of: ["tokenizer.json": "{"]),
      try error { $0.merges = #"["\u001b[2J q"]"# },
      try error { $0.modelOptions = #""type": "Unigram""# },
      try error { $0.vocabulary += #", "\u0007": -1"# },
    ]
    for error in errors {
      #expect(error.description.contains("; "))
      #expect(error.description.unicodeScalars.allSatisfy { $0.value >= 0x20 })
    }
  }

  private func load(_ small: SmallTokenizer) throws -> any Tokenizer {
    try withFolder(["tokenizer.json": small.json]) { try loadTokenizer(folder: $0.path) }
  }

  private func load(_ change: (inout SmallTokenizer) -> Void) throws -> any Tokenizer {
    var small = SmallTokenizer()
    change(&small)
    return try load(small)
  }

  private func error(_ change: (inout SmallTokenizer) -> Void) throws -> TokenizerError {
    var small = SmallTokenizer()
    change(&small)
    return try error(of: ["tokenizer.json": small.json])
  }

  private func error(of files: [String: String]) throws -> TokenizerError {
    try withFolder(files) { folder in
      try #require(
        #expect(throws: TokenizerError.self) { try loadTokenizer(folder: folder.path) })
    }
  }
}

extension TokenizerError {
  fileprivate var isNoTokenizer: Bool {
    if case .noTokenizer = self { true } else { false }
  }
}
