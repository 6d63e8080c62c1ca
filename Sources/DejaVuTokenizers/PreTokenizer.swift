/// Cuts text into the words that are encoded one by one.
struct PreTokenizer: Hashable, Sendable {
  enum Step: Hashable, Sendable {
    case split(SplitPattern)
    /// Puts a space before each piece that does not start with one.
    case prefixSpace
  }

  var steps: [Step]

  init(steps: [Step]) { self.steps = steps }

  init(_ field: FileField) throws(TokenizerError) {
    steps = []
    var isByteLevel = false
    try Self.read(field, into: &steps, isByteLevel: &isByteLevel)
    guard isByteLevel else {
      throw field.unsupported("without ByteLevel", supported: "ByteLevel")
    }
  }

  private static func read(
    _ field: FileField, into steps: inout [Step], isByteLevel: inout Bool
  ) throws(TokenizerError) {
    let type = try field.type()
    guard !isByteLevel else {
      throw field.unsupported("\(type) after ByteLevel", supported: "ByteLevel as the last step")
    }
    switch type {
    case "Sequence":
      for step in try field.member("pretokenizers").elements() {
        try read(step, into: &steps, isByteLevel: &isByteLevel)
      }
    case "ByteLevel":
      isByteLevel = true
      // Files from before the option existed mean the regular expression.
      if try field.member("add_prefix_space").flag() ?? true { steps.append(.prefixSpace) }
      if try field.member("use_regex").flag() ?? true { steps.append(.split(.gpt2)) }
    case "Split":
      steps.append(.split(try splitPattern(field)))
    default:
      throw field.unsupported(type, supported: "ByteLevel, or Split followed by ByteLevel")
    }
  }

  private static func splitPattern(_ field: FileField) throws(TokenizerError) -> SplitPattern {
    let behavior = try field.member("behavior").text()
    let inverted = try field.member("invert").flag() ?? false
    // The known patterns match every scalar: to isolate the matches, and to remove what is
    // between them, are the same.
    guard (behavior == "Isolated" && !inverted) || (behavior == "Removed" && inverted) else {
      throw try field.member("behavior").unsupported(
        inverted ? "inverted \(behavior)" : behavior, supported: "Isolated")
    }
    let regex = try field.member("pattern").member("Regex")
    guard let pattern = SplitPattern(regex: try regex.text()) else {
      throw regex.unsupported(
        try regex.text(), supported: "the pattern of GPT-2, Llama 3 (cl100k) or Qwen 2")
    }
    return pattern
  }

  /// Calls `body` with every word of `text`, in order.
  func forEachWord(in text: ArraySlice<UInt8>, _ body: (ArraySlice<UInt8>) -> Void) {
    forEachWord(in: text, from: 0, body)
  }

  private func forEachWord(
    in text: ArraySlice<UInt8>, from index: Int, _ body: (ArraySlice<UInt8>) -> Void
  ) {
    guard let first = text.first else { return }
    guard index < steps.count else { return body(text) }
    switch steps[index] {
    case .split(let pattern):
      pattern.forEachWord(in: text) { forEachWord(in: $0, from: index + 1, body) }
    case .prefixSpace:
      let space = UInt8(ascii: " ")
      forEachWord(in: first == space ? text : [space] + text, from: index + 1, body)
    }
  }
}
