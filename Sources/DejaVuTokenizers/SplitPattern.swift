/// The regular expressions by which known tokenizers cut text into words.
///
/// Each is a hand-written lexer that looks at a scalar a bounded number of times; a pattern that
/// is none of these is refused, because running a stranger's regular expression can take forever.
package enum SplitPattern: Hashable, Sendable {
  /// GPT-2, OPT, RoBERTa.
  case gpt2
  /// Llama 3 and cl100k (numbers in groups of three), Qwen 2 (digit by digit).
  case modern(digits: Int)

  package init?(regex: String) {
    switch regex {
    case Self.gpt2Regex, Self.gpt2ShortRegex: self = .gpt2
    case Self.llama3Regex, Self.cl100kRegex: self = .modern(digits: 3)
    case Self.qwen2Regex: self = .modern(digits: 1)
    default: return nil
    }
  }

  package static let gpt2Regex =
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
  package static let gpt2ShortRegex =
    #"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
  package static let llama3Regex =
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"#
    + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  /// Says the same as `llama3Regex`: `\s*` takes all newlines but the last anyway.
  package static let cl100kRegex =
    #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"#
    + #"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"#
  package static let qwen2Regex =
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"#
    + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  /// Calls `body` with every word of `text`, in order; together they are the whole text.
  package func forEachWord(in text: ArraySlice<UInt8>, _ body: (ArraySlice<UInt8>) -> Void) {
    let text = ClassifiedText(text)
    var start = 0
    while start < text.count {
      let end =
        switch self {
        case .gpt2: text.endOfGPT2Word(from: start)
        case .modern(let digits): text.endOfModernWord(from: start, digits: digits)
        }
      body(text[start..<end])
      start = end
    }
  }
}

extension ClassifiedText {
  /// Where the match of GPT-2's pattern at `start` ends.
  func endOfGPT2Word(from start: Int) -> Int {
    if let end = endOfContraction(from: start, anyCase: false) { return end }
    let afterSpace = kinds[start] == .space ? start + 1 : start
    guard afterSpace < count, !kinds[afterSpace].isWhitespace else {
      return endOfWhitespace(from: start)
    }
    let kind = kinds[afterSpace]
    return endOfRun(from: afterSpace) { $0 == kind }
  }

  /// Where the match of the Llama 3 or Qwen 2 pattern at `start` ends.
  func endOfModernWord(from start: Int, digits: Int) -> Int {
    if let end = endOfContraction(from: start, anyCase: true) { return end }
    let first = kinds[start]
    let second: ScalarKind? = start + 1 < count ? kinds[start + 1] : nil
    switch first {
    case .letter:
      return endOfRun(from: start) { $0 == .letter }
    case .number:
      return endOfRun(from: start, limit: digits) { $0 == .number }
    case .space, .whitespace, .other:
      if second == .letter { return endOfRun(from: start + 1) { $0 == .letter } }
    case .newline:
      break
    }
    guard first == .other || (first == .space && second == .other) else {
      return endOfLines(from: start)
    }
    return endOfRun(from: endOfRun(from: start + 1) { $0 == .other }) { $0 == .newline }
  }

  /// Where a match of `\s*[\r\n]+|\s+(?!\S)|\s+` at `start` ends.
  private func endOfLines(from start: Int) -> Int {
    var index = start
    var afterNewline: Int?
    while index < count, kinds[index].isWhitespace {
      if kinds[index] == .newline { afterNewline = index + 1 }
      index += 1
    }
    return afterNewline ?? endOfWhitespace(from: start)
  }

  /// `\s+(?!\S)|\s+`: whitespace before a word leaves its last scalar to that word.
  private func endOfWhitespace(from start: Int) -> Int {
    let end = endOfRun(from: start) { $0.isWhitespace }
    return end == count || end - start == 1 ? end : end - 1
  }

  /// `'s|'t|'re|'ve|'m|'ll|'d`, where `anyCase` admits what folds to these letters.
  private func endOfContraction(from start: Int, anyCase: Bool) -> Int? {
    guard bytes[starts[start]] == UInt8(ascii: "'"), start + 1 < count else { return nil }
    switch contractionLetter(at: start + 1, anyCase: anyCase) {
    case "s", "t", "m", "d":
      return start + 2
    case "r", "v":
      return contractionLetter(at: start + 2, anyCase: anyCase) == "e" ? start + 3 : nil
    case "l":
      return contractionLetter(at: start + 2, anyCase: anyCase) == "l" ? start + 3 : nil
    default:
      return nil
    }
  }

  private func contractionLetter(at index: Int, anyCase: Bool) -> Unicode.Scalar? {
    guard index < count else { return nil }
    let letter = Array(self[index..<index + 1])
    // U+017F, the long s, folds to s; no other scalar beyond ASCII folds to one of the letters.
    if anyCase, letter == [0xC5, 0xBF] { return "s" }
    guard letter.count == 1 else { return nil }
    let isUpper = (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(letter[0])
    return Unicode.Scalar(anyCase && isUpper ? letter[0] | 0x20 : letter[0])
  }
}
