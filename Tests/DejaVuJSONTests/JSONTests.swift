import DejaVuJSON
import Testing

@Suite struct JSONTests {
  @Test func `a document keeps its order, its spellings and its bytes`() throws {
    let value = try JSON.parse(
      Array(#" {"b": [1, -0.5e+2, "e\u0301\n\/\ud83d\ude42"], "a": {"": null, "é": true}} "#.utf8))
    #expect(value.members?.map(\.key.text) == ["b", "a"])
    let list = try #require(value["b"]?.elements)
    #expect(list[0].integer == 1)
    #expect(list[1] == .number(JSONNumber(spelling: "-0.5e+2")))
    #expect(list[1].double == -50)
    #expect(list[2].bytes?.bytes == Array("e\u{301}\n/🙂".utf8))
    #expect(value["a"]?[""] == .null)
    #expect(value["a"]?["é"]?.bool == true)
    #expect(value["a"]?["e\u{301}"] == nil)
  }

  @Test(arguments: ["{}", "[]", "0", "-0", "1e5", "\"\"", "null", "[[],{}]", "\t1\r\n"])
  func `valid JSON is read`(text: String) throws {
    _ = try JSON.parse(Array(text.utf8))
  }

  @Test(arguments: [
    "", " ", "{", "[", "[1", "[1,", "[1,]", "{\"a\":1,}", "{,}", "[,1]", "{\"a\" 1}", "{\"a\":}",
    "{a:1}", "{'a':1}", "[1 2]", "1 2", "{}x", "[]]", "null\0", "nul", "nulL", "True", "NaN",
    "Infinity", "-Infinity", "-", "+1", "01", "-01", "1.", ".5", "1.e5", "1e", "1e+", "0x10", "1_0",
    "// comment\n1", "/* */1", "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"a\nb\"",
    "\"\u{0}\"", "\u{FEFF}{}", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}",
  ])
  func `what is not JSON is refused`(text: String) {
    #expect(throws: JSONError.self) { try JSON.parse(Array(text.utf8)) }
  }

  @Test(arguments: [
    #"\ud800"#, #"\udc00"#, #"\ud800x"#, #"\ud800\n"#, #"\ud800\ud800"#, #"\ud83d"#,
  ])
  func `a lone surrogate is refused`(escape: String) {
    #expect(throws: JSONError.self) { try JSON.parse(Array("\"\(escape)\"".utf8)) }
    #expect(throws: JSONError.self) { try JSON.parse(Array("\"\(escape)".utf8)) }
  }

  @Test(
    arguments: [
      [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF], [0xF0, 0x80, 0x80, 0x80],
      [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80],
      [0x80], [0xFF], [0xC3], [0xC3, 0x28], [0xE2, 0x82], [0xE2, 0x82, 0x28], [0xF0, 0x9F, 0x99],
    ] as [[UInt8]])
  func `ill-formed UTF-8 is refused`(bytes: [UInt8]) {
    let quote = UInt8(ascii: "\"")
    #expect(throws: JSONError.self) { try JSON.parse([quote] + bytes + [quote]) }
    #expect(throws: JSONError.self) { try JSON.parse([quote] + bytes) }
  }

  @Test(arguments: [
    "\u{7F}", "\u{80}", "\u{7FF}", "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFF}",
    "\u{10000}", "\u{10FFFF}", "\u{FEFF}",
  ])
  func `every well-formed scalar passes through`(text: String) throws {
    #expect(try JSON.parse(Array("\"\(text)\"".utf8)).bytes?.bytes == Array(text.utf8))
  }

  @Test(arguments: ["[", "{\"a\":", "[[{\"a\":"])
  func `100,000 open brackets are an error and no crash`(unit: String) {
    let text = String(repeating: unit, count: 100_000)
    #expect(throws: JSONError.self) { try JSON.parse(Array(text.utf8)) }
  }

  @Test func `nesting counts up to its limit`() throws {
    func nested(_ depth: Int) -> [UInt8] {
      Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
    }
    _ = try JSON.parse(nested(64))
    #expect(throws: JSONError.self) { try JSON.parse(nested(65)) }
    _ = try JSON.parse(nested(2), limits: JSONLimits(depth: 2))
    #expect(throws: JSONError.self) { try JSON.parse(nested(3), limits: JSONLimits(depth: 2)) }
  }

  @Test func `values count up to their limit`() throws {
    _ = try JSON.parse(Array("[1,2]".utf8), limits: JSONLimits(values: 3))
    #expect(throws: JSONError.self) {
      try JSON.parse(Array("[1,2,3]".utf8), limits: JSONLimits(values: 3))
    }
  }

  @Test func `a number is an integer only when it is spelled as one and fits`() throws {
    func integer(_ text: String) throws -> Int? { try JSON.parse(Array(text.utf8)).integer }
    #expect(try integer("9223372036854775807") == Int.max)
    #expect(try integer("-9223372036854775808") == Int.min)
    #expect(try integer("-0") == 0)
    for text in ["9223372036854775808", "1.0", "1e2", "1e400", "123456789012345678901234567890"] {
      #expect(try integer(text) == nil, "\(text)")
    }
  }

  @Test func `a number too large for double precision has no value`() throws {
    #expect(try JSON.parse(Array("1e400".utf8)).double == nil)
    #expect(try JSON.parse(Array("1e308".utf8)).double == 1e308)
    #expect(try JSON.parse(Array("1e-400".utf8)).double == 0)
  }

  @Test func `a number of a thousand digits is refused`() {
    #expect(throws: JSONError.self) {
      try JSON.parse(Array(String(repeating: "1", count: 1000).utf8))
    }
  }

  @Test func `an error says where the text went wrong`() throws {
    let error = #expect(throws: JSONError.self) { try JSON.parse(Array("[1, 2, x]".utf8)) }
    #expect(error?.byteOffset == 7)
    #expect(error?.description.hasSuffix("at byte 7") == true)
  }

  @Test func `canonically equal keys stay apart`() throws {
    let value = try JSON.parse(Array("{\"é\": 1, \"e\u{301}\": 2}".utf8))
    #expect(value["é"]?.integer == 1)
    #expect(value["e\u{301}"]?.integer == 2)
  }
}
