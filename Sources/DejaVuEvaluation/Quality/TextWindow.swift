/// A run of a text that the model reads from an empty cache.
package struct TextWindow: Hashable, Sendable {
  /// Which document of the text.
  package let document: Int
  /// Tokens of the document that are read.
  package let range: Range<Int>
  /// The part of `range` that is scored; every token of a text is scored by one window at most.
  package let scored: Range<Int>

  package init(document: Int, range: Range<Int>, scored: Range<Int>) {
    self.document = document
    self.range = range
    self.scored = scored
  }
}

/// How a text is cut into windows.
package struct WindowPlan: Hashable, Sendable {
  /// Tokens of a window, the beginning-of-text token included.
  package let context: Int
  /// Tokens of the text by which windows advance.
  package let stride: Int
  package let beginsWithBOS: Bool

  /// - Parameters:
  ///   - context: tokens of a window, the beginning-of-text token included.
  ///   - stride: nil lets windows touch without overlap. Windows never leave tokens out: a stride
  ///     longer than a window's text is cut to it.
  ///   - beginsWithBOS: whether each window begins with the beginning-of-text token.
  package init(context: Int, stride: Int? = nil, beginsWithBOS: Bool) {
    self.context = context
    self.beginsWithBOS = beginsWithBOS
    let width = context - (beginsWithBOS ? 1 : 0)
    self.stride = min(stride ?? width, width)
  }

  /// Tokens of the text in one window.
  package var width: Int { context - (beginsWithBOS ? 1 : 0) }

  /// The windows of documents with these numbers of tokens.
  ///
  /// Window k of a document starts at k · stride and scores what no window before it scored; the
  /// last one may be shorter. Without a beginning-of-text token the first token of a document, and
  /// of each window that overlaps none, has nothing before it and is not scored.
  package func windows(tokens counts: [Int]) -> [TextWindow] {
    var windows: [TextWindow] = []
    for (document, count) in counts.enumerated() {
      var (start, scoredEnd) = (0, 0)
      while scoredEnd < count {
        let end = min(start + width, count)
        let first = max(scoredEnd, start + (beginsWithBOS ? 0 : 1))
        if first < end {
          windows.append(TextWindow(document: document, range: start..<end, scored: first..<end))
        }
        scoredEnd = end
        start += stride
      }
    }
    return windows
  }

  /// `count` of the windows, spread evenly, the first among them.
  package static func spread(_ count: Int, of windows: [TextWindow]) -> [TextWindow] {
    guard count < windows.count else { return windows }
    return (0..<count).map { windows[$0 * windows.count / count] }
  }
}
