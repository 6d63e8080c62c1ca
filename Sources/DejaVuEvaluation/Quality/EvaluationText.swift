package import DejaVuCore
package import DejaVuTokenizers

/// A text to measure on, in documents.
package struct EvaluationText: Hashable, Sendable {
  /// UTF-8 of each document, without the line break before its separator; none is empty.
  package let documents: [[UInt8]]
  /// What stands between documents that are read as one text.
  private let joiner: [UInt8]

  private static let separator = Array("<|endoftext|>".utf8)
  static let lineFeed = UInt8(ascii: "\n")
  static let emptyLine = [lineFeed, lineFeed]

  init(documents: [[UInt8]], joiner: [UInt8]) {
    self.documents = documents.filter { !$0.isEmpty }
    self.joiner = joiner
  }

  /// Splits the bytes of a file at lines that hold only `<|endoftext|>`.
  ///
  /// A file without separators is one document, kept byte for byte.
  package init(_ bytes: [UInt8]) {
    var documents: [[UInt8]] = []
    var start = 0
    var lineStart = 0
    while lineStart < bytes.count {
      let lineEnd = bytes[lineStart...].firstIndex(of: Self.lineFeed) ?? bytes.count
      if Self.isSeparator(bytes[lineStart..<lineEnd]) {
        documents.append(Self.trimmed(bytes[start..<lineStart]))
        start = min(lineEnd + 1, bytes.count)
      }
      lineStart = lineEnd + 1
    }
    documents.append(Array(bytes[start...]))
    self.init(documents: documents, joiner: Self.emptyLine)
  }

  private static func isSeparator(_ line: ArraySlice<UInt8>) -> Bool {
    (line.last == UInt8(ascii: "\r") ? line.dropLast() : line).elementsEqual(separator)
  }

  private static func trimmed(_ document: ArraySlice<UInt8>) -> [UInt8] {
    Array(document.last == lineFeed ? document.dropLast() : document)
  }

  /// All documents as one: of plain text with an empty line between them, what users of Hugging
  /// Face's libraries measure when they write `tokenizer("\n\n".join(documents))`.
  package var joined: [UInt8] { Array(documents.joined(separator: joiner)) }

  /// The ids of the whole text, or of each document for itself; without tokens around them.
  ///
  /// Control-token text such as `</s>` becomes that token, as in Hugging Face's tokenizers.
  package func tokens(_ tokenizer: any Tokenizer, separatesDocuments: Bool) -> [[TokenID]] {
    (separatesDocuments ? documents : [joined]).map {
      tokenizer.encode(utf8: $0, addingSpecialTokens: false, parsingSpecialTokens: true)
    }
  }
}
