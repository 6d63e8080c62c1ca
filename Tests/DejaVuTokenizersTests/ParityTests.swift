import DejaVuJSON
import DejaVuTokenizers
import Foundation
import Testing

/// Agreement with Hugging Face's `tokenizers`; see `Fixtures/make_fixtures.py`.
@Suite struct ParityTests {
  static let names = ["opt-16m", "llama3-like", "qwen2-like"]

  @Test func `the golden texts have the ids of the reference`() throws {
    let tokenizer = try Fixture.tokenizer("opt-16m")
    let cases = try #require(Fixture.json("tokenizer_cases.json").elements)
    #expect(!cases.isEmpty)
    for row in cases {
      let ids = tokenizer.encode(
        utf8: try row.string("text"), addingSpecialTokens: true, parsingSpecialTokens: true)
      #expect(ids == (try row.ids("ids")), "\(row["text"]?.text ?? "")")
    }
  }

  @Test(arguments: names)
  func `texts of many scripts have the ids of the reference`(name: String) throws {
    let tokenizer = try Fixture.tokenizer(name)
    let cases = try Fixture.json("parity-\(name).json").array("cases")
    #expect(cases.count > 100)
    for row in cases {
      let ids = tokenizer.encode(
        utf8: try row.string("text"), addingSpecialTokens: true,
        parsingSpecialTokens: row["parse"] == .bool(true))
      #expect(ids == (try row.ids("ids")), "\(row["text"]?.text.debugDescription ?? "")")
    }
  }

  @Test(arguments: names)
  func `ids in any order decode as in the reference`(name: String) throws {
    let tokenizer = try Fixture.tokenizer(name)
    for row in try Fixture.json("parity-\(name).json").array("decodes") {
      let ids = try row.ids("ids")
      for (key, skipping) in [("all", false), ("skipped", true)] {
        let text = tokenizer.decode(ids, skippingSpecialTokens: skipping)
        #expect(Array(text.utf8) == (try row.string(key)), "\(ids)")
      }
    }
  }

  /// A megabyte of one thing would take hours if any step were quadratic.
  @Test(arguments: names)
  func `long hostile texts have the ids of the reference`(name: String) throws {
    let tokenizer = try Fixture.tokenizer(name)
    for row in try Fixture.json("parity-\(name).json").array("hostile") {
      let unit = try row.string("unit")
      var text = try row.string("head")
      for _ in 0..<(try row.number("repeat")) { text += unit }
      let ids = tokenizer.encode(
        utf8: text, addingSpecialTokens: false, parsingSpecialTokens: true)
      #expect(ids.count == (try row.number("count")), "\(row)")
      #expect(fnv(ids) == (try row.string("fnv")), "\(row)")
    }
  }

  @Test func `vocab and merges alone give the ids of tokenizer json`() throws {
    let whole = try Fixture.tokenizer("opt-16m")
    let model = try Fixture.tokenizerFolder("opt-16m")
    var files: [String: String] = [:]
    for name in ["vocab.json", "merges.txt", "config.json", "special_tokens_map.json"] {
      files[name] = try String(contentsOf: model.appendingPathComponent(name), encoding: .utf8)
    }
    let tokenizer = try withFolder(files) { try loadTokenizer(folder: $0.path) }
    for row in try #require(Fixture.json("tokenizer_cases.json").elements) {
      let text = try row.string("text")
      for flag in [true, false] {
        #expect(
          tokenizer.encode(utf8: text, addingSpecialTokens: flag, parsingSpecialTokens: true)
            == whole.encode(utf8: text, addingSpecialTokens: flag, parsingSpecialTokens: true))
      }
    }
    #expect(tokenizer.vocabularyCount == whole.vocabularyCount)
    #expect(tokenizer.bosToken == 2 && tokenizer.eosToken == 2)
    #expect(tokenizer.padToken == 1 && tokenizer.unkToken == 3)
  }

  /// FNV-1a over the ids as little-endian 32-bit words, in hexadecimal.
  private func fnv(_ ids: [TokenID]) -> [UInt8] {
    var state: UInt64 = 0xCBF2_9CE4_8422_2325
    for id in ids {
      for shift in [0, 8, 16, 24] {
        state = (state ^ UInt64(id >> Int32(shift) & 0xFF)) &* 0x100_0000_01B3
      }
    }
    let digits = String(state, radix: 16)
    return Array((String(repeating: "0", count: 16 - digits.count) + digits).utf8)
  }
}
