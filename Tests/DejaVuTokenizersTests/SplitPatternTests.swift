import DejaVuJSON
import DejaVuTokenizers
import Testing

@Suite struct SplitPatternTests {
  static let regexes = [
    "gpt2": SplitPattern.gpt2Regex, "llama3": SplitPattern.llama3Regex,
    "cl100k": SplitPattern.cl100kRegex, "qwen2": SplitPattern.qwen2Regex,
  ]

  @Test func `words end where the regular expressions end them`() throws {
    let rows = try #require(Fixture.json("words.json").elements)
    #expect(rows.count > 400)
    for row in rows {
      let regex = try #require(Self.regexes[row["pattern"]?.text ?? ""])
      let pattern = try #require(SplitPattern(regex: regex))
      var lengths: [Int] = []
      var text: [UInt8] = []
      pattern.forEachWord(in: try row.string("text")[...]) { word in
        lengths.append(word.count)
        text += word
      }
      #expect(lengths == (try row.array("lengths").map { try #require($0.integer) }), "\(row)")
      #expect(text == (try row.string("text")))
    }
  }

  /// The reference's tables are those of Unicode 16; what came later is left out, and so is what
  /// this system does not know yet.
  @Test func `all scalars of Unicode 16 are of the kind that the reference sees`() throws {
    let runs = try #require(Fixture.json("scalar_kinds.json").elements)
    let neighbours = ["L": "a", "N": "1", "o": "-", "s": ""]
    for (index, run) in runs.enumerated() {
      let first = try #require(run.elements?.first?.integer)
      let kind = try #require(run.elements?.last?.text)
      let next = index + 1 < runs.count ? runs[index + 1].elements?.first?.integer : nil
      let scalars = (first..<(next ?? 0x110000)).compactMap { Unicode.Scalar(UInt32($0)) }
        .filter { ($0.properties.age?.major ?? 99) <= 16 }
      // Scalars of one kind join into one word, with each other and with a known neighbour.
      let text = String(String.UnicodeScalarView(scalars))
      let neighbour = try #require(neighbours[kind])
      let expected = scalars.isEmpty && neighbour.isEmpty ? 0 : 1
      #expect(wordCount(neighbour + text) == expected, "\(kind) from \(first)")
      guard kind == "s" else { continue }
      for scalar in scalars {
        for other in ["a", "1", "-"] {
          #expect(wordCount(other + String(Character(scalar))) == 2, "\(scalar.value)")
        }
      }
    }
  }

  private func wordCount(_ text: String) -> Int {
    var words = 0
    SplitPattern.gpt2.forEachWord(in: Array(text.utf8)[...]) { _ in words += 1 }
    return words
  }

  @Test(arguments: [
    "(a+)+$", "", #"\p{L}+"#, SplitPattern.gpt2Regex + " ", #"[^\r\n\p{L}\p{N}]?[\p{Lu}]+"#,
  ])
  func `an unknown pattern is no pattern`(regex: String) {
    #expect(SplitPattern(regex: regex) == nil)
  }
}
