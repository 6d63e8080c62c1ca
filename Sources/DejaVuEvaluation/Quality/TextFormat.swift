package import DejaVuFormats
import DejaVuJSON

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// How a file holds its documents, and how these are joined where they are read as one text.
package enum TextFormat: String, Hashable, Sendable, CaseIterable {
  /// Lines that hold only `<|endoftext|>` separate documents; an empty line joins them.
  case plain
  /// WikiText's lines, raw or tokenised: documents are articles; lines are joined by an empty line,
  /// as `"\n\n".join(dataset["text"])` joins what Hugging Face's datasets make of them.
  case wikitext
  /// An object with a `text` on each line, as C4 is published; a space joins documents.
  case jsonl

  /// What a file's name says it holds; `.gz` at its end does not matter.
  package init(path: String) {
    let name = path.hasSuffix(".gz") ? String(path.dropLast(3)) : path
    if name.hasSuffix(".json") || name.hasSuffix(".jsonl") {
      self = .jsonl
    } else if name.hasSuffix(".raw") || name.hasSuffix(".tokens") {
      self = .wikitext
    } else {
      self = .plain
    }
  }
}

extension EvaluationText {
  /// Greatest size of a text, unpacked: a larger one would not fit beside a model.
  private static let limit = 1 << 30

  /// Reads a file, unpacking it where its name ends in `.gz`.
  ///
  /// - Parameters:
  ///   - path: a file, or `-` for standard input.
  ///   - format: nil goes by the file's name.
  /// - Returns: its documents.
  /// - Throws: ``TextError``.
  package static func contents(
    of path: String, format: TextFormat? = nil
  ) throws(TextError) -> EvaluationText {
    try EvaluationText(
      try bytes(path), format: format ?? TextFormat(path: path), path: path)
  }

  private static func bytes(_ path: String) throws(TextError) -> [UInt8] {
    guard path != "-" else { return try bytes(of: STDIN_FILENO, path: path) }
    guard !path.utf8.contains(0) else {
      throw .unreadable(path: path, code: EINVAL)
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .unreadable(path: path, code: errno) }
    if path.hasSuffix(".gz") {
      do { return try GzipReader().bytes(of: descriptor, limit: limit) } catch {
        throw .compressed(path: path, error)
      }
    }
    defer { close(descriptor) }
    return try bytes(of: descriptor, path: path)
  }

  private static func bytes(of descriptor: Int32, path: String) throws(TextError) -> [UInt8] {
    var (bytes, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 1 << 18))
    while bytes.count <= limit {
      let count = read(descriptor, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw .unreadable(path: path, code: errno) }
      guard count > 0 else { return bytes }
      bytes += buffer[..<count]
    }
    throw .tooLarge(path: path, limit: limit)
  }

  /// - Parameters:
  ///   - bytes: of the file.
  ///   - format: how it holds its documents.
  ///   - path: for errors.
  /// - Throws: ``TextError/malformed(path:line:reason:)``.
  package init(_ bytes: [UInt8], format: TextFormat, path: String) throws(TextError) {
    switch format {
    case .plain: self.init(bytes)
    case .wikitext: self.init(documents: Self.articles(bytes), joiner: Self.emptyLine)
    case .jsonl:
      self.init(
        documents: try Self.texts(bytes, path: path), joiner: [UInt8(ascii: " ")])
    }
  }

  /// The articles of WikiText, each with its lines joined.
  ///
  /// Hugging Face's datasets hold a row for every line, its line feed included, and an empty one for a
  /// line of white space.
  private static func articles(_ bytes: [UInt8]) -> [[UInt8]] {
    var lines = bytes.split(separator: lineFeed, omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    var articles: [[[UInt8]]] = [[]]
    var hasHeading = false
    for line in lines {
      let isEmpty = line.allSatisfy { $0 == 0x20 || (0x09...0x0D).contains($0) }
      if isHeading(line) {
        if hasHeading { articles.append([]) }
        hasHeading = true
      }
      articles[articles.count - 1].append(isEmpty ? [] : Array(line) + [lineFeed])
    }
    return articles.map { Array($0.joined(separator: emptyLine)) }
  }

  /// ` = Title = `; a section of an article has more signs.
  private static func isHeading(_ line: ArraySlice<UInt8>) -> Bool {
    let words = line.split(separator: 0x20)
    let sign = ArraySlice("=".utf8)
    guard words.count >= 3, words.first == sign, words.last == sign else { return false }
    return words[1] != sign && words[words.count - 2] != sign
  }

  private static func texts(_ bytes: [UInt8], path: String) throws(TextError) -> [[UInt8]] {
    let limits = JSONLimits(depth: 8, values: 100_000)
    var texts: [[UInt8]] = []
    for (index, line) in bytes.split(
      separator: lineFeed, omittingEmptySubsequences: false
    ).enumerated() where !line.allSatisfy({ $0 == 0x20 || $0 == 0x0D || $0 == 0x09 }) {
      let json: JSON
      do throws(JSONError) {
        json = try JSON.parse(line, limits: limits)
      } catch {
        throw .malformed(path: path, line: index + 1, reason: error.description)
      }
      guard let text = json["text"]?.text else {
        throw .malformed(path: path, line: index + 1, reason: "it has no 'text' that is a string")
      }
      texts.append(Array(text.utf8))
    }
    return texts
  }
}

/// A text that cannot be used.
@nonexhaustive
package enum TextError: Error, Hashable, Sendable {
  /// The system does not hand it out; its error number.
  case unreadable(path: String, code: Int32)
  /// It cannot be unpacked.
  case compressed(path: String, GzipError)
  /// A line is not what the format says.
  case malformed(path: String, line: Int, reason: String)
  /// It is larger than may be.
  case tooLarge(path: String, limit: Int)
}

extension TextError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unreadable("-", let code):
      "cannot read standard input: \(String(cString: strerror(code)))"
    case .unreadable(let path, let code):
      "cannot read '\(path)': \(String(cString: strerror(code)))"
    case .compressed(let path, let error): "cannot unpack '\(path)': \(error)"
    case .malformed(let path, let line, let reason):
      "line \(line) of '\(path)' is no document: \(reason); --text-format says what a file holds"
    case .tooLarge(let path, let limit):
      "'\(path)' is larger than \(limit) bytes; cut it into parts"
    }
  }
}
