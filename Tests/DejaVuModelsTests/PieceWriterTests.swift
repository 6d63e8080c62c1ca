import DejaVu
import DejaVuTokenizers
import Testing

/// A tokenizer whose tokens are given texts.
private struct TextTokenizer: Tokenizer {
  let texts: [[UInt8]]

  init(_ texts: [String]) { self.texts = texts.map { Array($0.utf8) } }

  var vocabularyCount: Int { texts.count }
  var bosToken: TokenID? { nil }
  var eosToken: TokenID? { nil }
  var padToken: TokenID? { nil }
  var unkToken: TokenID? { nil }
  func encode(
    utf8 text: [UInt8], addingSpecialTokens: Bool, parsingSpecialTokens: Bool
  ) -> [TokenID] { [] }
  func bytes(of id: TokenID) -> [UInt8] { texts[Int(id)] }
  func id(of token: String) -> TokenID? { nil }
  func isSpecial(_ id: TokenID) -> Bool { false }
}

struct PieceWriterTests {
  /// Everything that comes out, piece by piece, and whether a stop text came up.
  private func write(
    _ pieces: [String], stop: [String]
  ) -> (pieces: [String], hasStopped: Bool, text: String) {
    var writer = PieceWriter(tokenizer: TextTokenizer(pieces), stop: stop)
    var out: [String] = []
    for token in pieces.indices where !writer.hasStopped {
      out.append(writer.append(TokenID(token)))
    }
    out.append(writer.finish())
    return (out, writer.hasStopped, writer.text)
  }

  @Test(arguments: 0..<64)
  func `a stop text is found however the text is cut`(cuts: Int) {
    // Bit i of `cuts` puts a cut behind character i + 3.
    var pieces = [""]
    for (index, character) in "abcSTOPdef".enumerated() {
      pieces[pieces.count - 1].append(character)
      if index >= 3, cuts >> (index - 3) & 1 == 1 { pieces.append("") }
    }
    let result = write(pieces, stop: ["never", "STOP"])
    #expect(result.hasStopped)
    #expect(result.text == "abc")
    #expect(result.pieces.joined() == "abc")
  }

  @Test
  func `what only begins like a stop text comes out in the end`() {
    let result = write(["abS", "TO", "x", "ST"], stop: ["STOP"])
    #expect(result.pieces == ["ab", "", "STOx", "", "ST"])
    #expect(!result.hasStopped && result.text == "abSTOxST")
  }

  @Test
  func `the first of several stop texts counts, and empty ones do not`() {
    #expect(write(["one two three"], stop: ["", "three", "two"]).text == "one ")
    #expect(write(["aab", "aac"], stop: ["aac", "abx"]).text == "aab")
  }

  @Test
  func `a line feed stops behind a carriage return, in one piece or two`() {
    #expect(Array(write(["a\r\nb"], stop: ["\n"]).text.utf8) == Array("a\r".utf8))
    #expect(Array(write(["a\r", "\nb"], stop: ["\n"]).text.utf8) == Array("a\r".utf8))
  }

  @Test
  func `stop texts compare by code points`() {
    // An accent that follows its letter does not hide the letter, nor a composed one show it.
    #expect(write(["caf", "e", "\u{301}!"], stop: ["e"]).text == "caf")
    #expect(write(["cafe\u{301}!"], stop: ["e"]).text == "caf")
    #expect(!write(["caf\u{E9}!"], stop: ["e\u{301}"]).hasStopped)
  }
}
