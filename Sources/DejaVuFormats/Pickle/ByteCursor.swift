/// Reads one part of a mapped file from front to back, and never past the part's end.
///
/// It holds the file itself, so the bytes outlive every read.
struct ByteCursor {
  let file: MappedFile
  /// What is being read, for messages.
  let part: String
  private(set) var position: Int
  let end: Int

  /// - Precondition: `range` lies within the file.
  init(_ file: MappedFile, _ range: Range<Int>, part: String) {
    precondition(range.lowerBound >= 0 && range.upperBound <= file.bytes.count, "\(range)")
    self.file = file
    self.part = part
    position = range.lowerBound
    end = range.upperBound
  }

  var isAtEnd: Bool { position == end }

  /// Steps over `count` bytes and returns where they lie.
  ///
  /// - Throws: ``CheckpointError/malformed(file:reason:)`` when fewer are left.
  mutating func take(_ count: Int) throws(CheckpointError) -> Range<Int> {
    guard count >= 0, count <= end - position else {
      throw .malformed(
        file: file.path,
        reason: "the \(part) ends at byte \(end), inside a field of \(count) bytes at \(position)")
    }
    defer { position += count }
    return position..<position + count
  }

  /// The next little-endian integer.
  mutating func read<Value: FixedWidthInteger>(_ type: Value.Type) throws(CheckpointError) -> Value
  {
    let range = try take(MemoryLayout<Value>.size)
    return Value(
      littleEndian: file.bytes.loadUnaligned(fromByteOffset: range.lowerBound, as: type))
  }

  /// The bytes up to the next line feed, which is stepped over.
  ///
  /// - Throws: ``CheckpointError/malformed(file:reason:)`` when there is none within `limit` bytes.
  mutating func line(limit: Int) throws(CheckpointError) -> Range<Int> {
    let window = position..<position + min(limit, end - position)
    guard let newline = window.first(where: { file.bytes[$0] == 0x0A }) else {
      throw .malformed(
        file: file.path,
        reason: "the \(part) has no end of line within \(window.count) bytes of byte \(position)")
    }
    defer { position = newline + 1 }
    return position..<newline
  }
}

extension MappedFile {
  /// The text of `range`, or nil if that is not UTF-8.
  func text(_ range: Range<Int>) -> String? { String(validating: bytes[range], as: UTF8.self) }

  /// Whether the file holds exactly `pattern` at `offset`.
  func holds(_ pattern: some Collection<UInt8>, at offset: Int) -> Bool {
    offset >= 0 && pattern.count <= bytes.count && offset <= bytes.count - pattern.count
      && bytes[offset..<offset + pattern.count].elementsEqual(pattern)
  }
}

/// Whether `name` is fit to be a key and a word in a message: not empty, bounded, no control
/// characters.
func isSaneName(_ name: String) -> Bool {
  !name.isEmpty && name.utf8.count <= 1024
    && !name.unicodeScalars.contains { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) }
}
