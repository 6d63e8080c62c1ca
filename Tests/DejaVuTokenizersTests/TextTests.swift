import DejaVuJSON
import DejaVuTokenizers
import Testing

/// Text to ids to text, whole and piece by piece.
@Suite struct TextTests {
  static let texts = [
    "", "plain", "e\u{301} é \u{212B}", "a\r\nb\rc\n\0d", "\u{FEFF}mark", "👩‍👩‍👧‍👦 🇨🇭", "Ġ Ċ Ā",
    "</s> <pad>", "日本語 русский العربية", "\u{10FFFF}\u{0}\u{E000}",
  ]

  @Test(arguments: texts, [true, false])
  func `decoding gives back the text`(text: String, parsing: Bool) throws {
    for name in ["opt-16m", "llama3-like"] {
      let tokenizer = try Fixture.tokenizer(name)
      let ids = tokenizer.encode(
        text, addingSpecialTokens: false, parsingSpecialTokens: parsing)
      let decoded = tokenizer.decode(ids, skippingSpecialTokens: false)
      #expect(Array(decoded.utf8) == Array(text.utf8))
    }
  }

  @Test(arguments: texts)
  func `pieces of a stream add up to the whole`(text: String) throws {
    let tokenizer = try Fixture.tokenizer("llama3-like")
    let ids = tokenizer.encode(text, addingSpecialTokens: true, parsingSpecialTokens: true)
    for skipping in [true, false] {
      var stream = TokenStream(tokenizer: tokenizer, skippingSpecialTokens: skipping)
      var streamed = ids.map { stream.append($0) }.joined()
      streamed += stream.flush()
      let whole = tokenizer.decode(ids, skippingSpecialTokens: skipping)
      #expect(Array(streamed.utf8) == Array(whole.utf8))
    }
  }

  @Test func `a stream holds back half a character`() throws {
    let tokenizer = try Fixture.tokenizer("opt-16m")
    let tokens = try byteTokens(of: tokenizer)
    var stream = TokenStream(tokenizer: tokenizer, skippingSpecialTokens: true)
    let pieces = [UInt8]("é€🙂".utf8).map { stream.append(tokens[Int($0)]) }
    #expect(pieces == ["", "é", "", "", "€", "", "", "", "🙂"])
    #expect(stream.append(tokens[0xE2]) == "")
    #expect(stream.append(tokens[0x41]) == "\u{FFFD}A")
    #expect(stream.append(tokens[0xF0]) == "")
    #expect(stream.flush() == "\u{FFFD}")
    #expect(stream.flush() == "")
  }

  @Test func `ill-formed bytes become what Python makes of them`() throws {
    let tokenizer = try Fixture.tokenizer("opt-16m")
    let tokens = try byteTokens(of: tokenizer)
    for row in try #require(Fixture.json("repairs.json").elements) {
      let hex = try #require(row.elements?.first?.text)
      let bytes = try bytes(hex: hex)
      let expected = try #require(row.elements?.last?.bytes?.bytes)
      let ids = bytes.map { tokens[Int($0)] }
      #expect(Array(tokenizer.decode(ids, skippingSpecialTokens: true).utf8) == expected)
      let encoded = tokenizer.encode(
        utf8: bytes, addingSpecialTokens: false, parsingSpecialTokens: false)
      #expect(Array(tokenizer.decode(encoded, skippingSpecialTokens: true).utf8) == expected)
    }
  }

  @Test func `normal form C is Python's`() throws {
    let tokenizer = try Fixture.tokenizer("qwen2-like")
    for row in try #require(Fixture.json("compositions.json").elements) {
      let text = try #require(row.elements?.first?.bytes?.bytes)
      let ids = tokenizer.encode(
        utf8: text, addingSpecialTokens: false, parsingSpecialTokens: false)
      let composed = tokenizer.decode(ids, skippingSpecialTokens: false)
      #expect(Array(composed.utf8) == row.elements?.last?.bytes?.bytes)
    }
  }

  @Test(arguments: ["<s>", "</s>", "<pad>", "a </s>b", "</s></s>"])
  func `control-token text stays text unless parsing is asked for`(text: String) throws {
    let tokenizer = try Fixture.tokenizer("opt-16m")
    let plain = tokenizer.encode(text, addingSpecialTokens: false, parsingSpecialTokens: false)
    #expect(!plain.contains { tokenizer.isSpecial($0) })
    #expect(tokenizer.decode(plain, skippingSpecialTokens: true) == text)
    let parsed = tokenizer.encode(text, addingSpecialTokens: false, parsingSpecialTokens: true)
    #expect(parsed.contains { tokenizer.isSpecial($0) })
  }

  @Test(arguments: [-1, Int32.min, Int32.max, 12_288])
  func `an id outside the vocabulary is no token`(id: TokenID) throws {
    let tokenizer = try Fixture.tokenizer("opt-16m")
    #expect(tokenizer.vocabularyCount == 12_288)
    #expect(tokenizer.bytes(of: id) == [])
    #expect(!tokenizer.isSpecial(id))
    #expect(tokenizer.decode([id, 36, id], skippingSpecialTokens: true) == "A")
  }

  @Test func `tokens are found by their spelling, byte for byte`() throws {
    let tokenizer = try Fixture.tokenizer("opt-16m")
    let id = try #require(tokenizer.id(of: "Ġabundance"))
    #expect(String(decoding: tokenizer.bytes(of: id), as: UTF8.self) == " abundance")
    #expect(tokenizer.id(of: "G\u{307}abundance") == nil)
    #expect(tokenizer.id(of: "</s>") == 2)
  }

  /// The token of each single byte.
  private func byteTokens(of tokenizer: any Tokenizer) throws -> [TokenID] {
    var tokens = [TokenID?](repeating: nil, count: 256)
    for id in 0..<TokenID(tokenizer.vocabularyCount) {
      let bytes = tokenizer.bytes(of: id)
      if bytes.count == 1 { tokens[Int(bytes[0])] = id }
    }
    return try tokens.map { try #require($0) }
  }

  private func bytes(hex: String) throws -> [UInt8] {
    let digits = try hex.map { try #require($0.hexDigitValue) }
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }
}
