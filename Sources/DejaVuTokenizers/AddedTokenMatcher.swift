import DejaVuJSON

/// Finds added tokens in text: leftmost first, then longest.
struct AddedTokenMatcher: Sendable {
  /// A stretch of text, or a token found in it.
  enum Segment {
    case text(ArraySlice<UInt8>)
    case token(TokenID)
  }

  private let tokens: [AddedToken]
  /// A trie over bytes: `node << 8 | byte` leads to the next node.
  private var edges: [Int: Int] = [:]
  /// The token that ends at a node.
  private var ends: [Int: Int] = [:]
  private var nodeCount = 1
  /// Whether any token starts with a byte; most text is passed over by this table alone.
  private var starts = [Bool](repeating: false, count: 256)

  init(_ tokens: [AddedToken], normalizer: Normalizer) {
    self.tokens = tokens
    for (index, token) in tokens.enumerated() {
      let content = token.content.bytes[...]
      insert(token.isNormalized ? normalizer.apply(to: content) : content, index: index)
    }
  }

  private mutating func insert(_ content: ArraySlice<UInt8>, index: Int) {
    guard let first = content.first else { return }
    starts[Int(first)] = true
    var node = 0
    for byte in content {
      let edge = node << 8 | Int(byte)
      if let next = edges[edge] {
        node = next
      } else {
        edges[edge] = nodeCount
        node = nodeCount
        nodeCount += 1
      }
    }
    if ends[node] == nil { ends[node] = index }
  }

  /// Calls `body` with the stretches and tokens of `text`, in order; no stretch is empty.
  ///
  /// Without `parsingSpecialTokens`, special tokens are passed over as text.
  func forEachSegment(
    in text: ArraySlice<UInt8>, parsingSpecialTokens: Bool, _ body: (Segment) -> Void
  ) {
    var done = text.startIndex
    var index = text.startIndex
    while index < text.endIndex {
      guard starts[Int(text[index])], let match = match(in: text, at: index) else {
        index += 1
        continue
      }
      let token = tokens[match.token]
      let found = index..<match.end
      index = match.end
      guard parsingSpecialTokens || !token.isSpecial, isAllowed(token, at: found, in: text) else {
        continue
      }
      let taken = stripped(found, of: token, in: text, notBefore: done)
      if done < taken.lowerBound { body(.text(text[done..<taken.lowerBound])) }
      body(.token(token.id))
      done = taken.upperBound
      index = max(index, done)
    }
    if done < text.endIndex { body(.text(text[done...])) }
  }

  private func match(in text: ArraySlice<UInt8>, at start: Int) -> (token: Int, end: Int)? {
    var node = 0
    var best: (token: Int, end: Int)?
    for index in start..<text.endIndex {
      guard let next = edges[node << 8 | Int(text[index])] else { break }
      node = next
      if let token = ends[node] { best = (token, index + 1) }
    }
    return best
  }

  private func isAllowed(
    _ token: AddedToken, at found: Range<Int>, in text: ArraySlice<UInt8>
  ) -> Bool {
    guard token.isSingleWord else { return true }
    return !(ScalarScan.last(of: text[..<found.lowerBound])?.isWordCharacter ?? false)
      && !(ScalarScan.first(of: text[found.upperBound...])?.isWordCharacter ?? false)
  }

  /// The match with the whitespace around it that the token swallows.
  private func stripped(
    _ found: Range<Int>, of token: AddedToken, in text: ArraySlice<UInt8>, notBefore done: Int
  ) -> Range<Int> {
    var (lower, upper) = (found.lowerBound, found.upperBound)
    while token.stripsLeft, let scalar = ScalarScan.last(of: text[done..<lower]),
      scalar.properties.isWhitespace
    {
      lower -= UTF8.width(scalar)
    }
    while token.stripsRight, let scalar = ScalarScan.first(of: text[upper...]),
      scalar.properties.isWhitespace
    {
      upper += UTF8.width(scalar)
    }
    return lower..<upper
  }
}

/// Looks at the ends of well-formed UTF-8 without reading the rest.
enum ScalarScan {
  static func first(of text: ArraySlice<UInt8>) -> Unicode.Scalar? {
    String(decoding: text.prefix(4), as: UTF8.self).unicodeScalars.first
  }

  static func last(of text: ArraySlice<UInt8>) -> Unicode.Scalar? {
    let tail = text.suffix(4)
    guard let lead = tail.lastIndex(where: { $0 & 0xC0 != 0x80 }) else { return nil }
    return String(decoding: tail[lead...], as: UTF8.self).unicodeScalars.first
  }
}

extension Unicode.Scalar {
  /// `\w` as Unicode's technical standard 18 defines it.
  var isWordCharacter: Bool {
    switch properties.generalCategory {
    case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation:
      true
    default:
      properties.isAlphabetic || properties.isJoinControl
    }
  }
}
