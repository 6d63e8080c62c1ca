/// The directory of a zip archive whose entries are all stored as they are.
///
/// Everything is checked when the archive is opened: each local header against the directory, each
/// entry against the file's end and its neighbours. Checksums are not: PyTorch can be told to leave
/// them out, and they would cost a pass over the weights.
struct ZipArchive {
  let file: MappedFile
  /// The first entry's name in the directory, which tells PyTorch the archive's own name.
  private(set) var firstName = ""
  private var ranges: [String: Range<Int>] = [:]

  init(_ file: MappedFile) throws(CheckpointError) {
    self.file = file
    let end = try ZipEndRecord(file)
    var cursor = ByteCursor(file, end.directory, part: "zip directory")
    var spans: [(span: Range<Int>, name: String)] = []
    for position in 0..<end.entryCount {
      let entry = try ZipDirectoryEntry(reading: &cursor)
      let data = try entry.locate(in: file, before: end.directory.lowerBound)
      // Names that are canonically equivalent count as equal here, which refuses both.
      guard ranges.updateValue(data, forKey: entry.name) == nil else {
        throw .malformed(file: file.path, reason: "it has two zip entries named '\(entry.name)'")
      }
      if position == 0 { firstName = entry.name }
      spans.append((entry.headerOffset..<data.upperBound, entry.name))
    }
    guard cursor.isAtEnd else {
      throw .malformed(
        file: file.path, reason: "its zip directory goes on after \(end.entryCount) entries")
    }
    try Self.requireDisjoint(spans, in: file)
  }

  /// Where the bytes of the entry `name` lie in the file.
  subscript(name: String) -> Range<Int>? { ranges[name] }

  /// Checks that no byte belongs to two entries, and that the first starts the file.
  private static func requireDisjoint(
    _ spans: [(span: Range<Int>, name: String)], in file: MappedFile
  ) throws(CheckpointError) {
    var end = 0
    for (span, name) in spans.sorted(by: { $0.span.lowerBound < $1.span.lowerBound }) {
      guard span.lowerBound >= end, end > 0 || span.lowerBound == 0 else {
        throw .malformed(
          file: file.path,
          reason: "its zip entry '\(name)' starts at byte \(span.lowerBound), "
            + (end > 0 ? "inside another entry" : "not at the start of the file"))
      }
      end = span.upperBound
    }
  }
}

/// One entry as the directory describes it.
private struct ZipDirectoryEntry {
  let name: String
  private let nameRange: Range<Int>
  private let header: ZipHeader
  private let size: Int
  let headerOffset: Int

  init(reading cursor: inout ByteCursor) throws(CheckpointError) {
    let file = cursor.file
    let start = cursor.position
    guard try cursor.read(UInt32.self) == 0x0201_4B50 else {
      throw .malformed(file: file.path, reason: "its zip directory has no entry at byte \(start)")
    }
    _ = try cursor.take(4)  // versions
    header = try ZipHeader(reading: &cursor)
    let commentCount = Int(try cursor.read(UInt16.self))
    let disk = try cursor.read(UInt16.self)
    _ = try cursor.take(6)  // attributes
    let offset = try cursor.read(UInt32.self)
    nameRange = try cursor.take(header.nameCount)
    let extra = try cursor.take(header.extraCount)
    _ = try cursor.take(commentCount)
    guard let name = file.text(nameRange), isSaneName(name), Self.isRelative(name) else {
      throw .malformed(
        file: file.path, reason: "the zip entry at byte \(start) has an impossible name")
    }
    self.name = name
    try header.requireStored(name: name, in: file)
    var large = try Zip64Values(file, extra: extra)
    size = try large.resolve(header.size)
    let compressedSize = try large.resolve(header.compressedSize)
    headerOffset = try large.resolve(offset)
    guard compressedSize == size, disk == 0 else {
      throw .malformed(
        file: file.path,
        reason: "its zip entry '\(name)' is stored, yet says \(size) bytes take \(compressedSize)")
    }
  }

  private static func isRelative(_ name: String) -> Bool {
    !name.utf8.contains(UInt8(ascii: "\\"))
      && !name.split(separator: "/", omittingEmptySubsequences: false).contains {
        $0.isEmpty || $0 == "." || $0 == ".."
      }
  }

  /// Checks the local header and returns where the entry's bytes lie, all before `end`.
  func locate(in file: MappedFile, before end: Int) throws(CheckpointError) -> Range<Int> {
    guard headerOffset < end else {
      throw .malformed(
        file: file.path,
        reason: "its zip entry '\(name)' starts at byte \(headerOffset), past the last entry's end")
    }
    var cursor = ByteCursor(file, headerOffset..<end, part: "zip entry '\(name)'")
    let disagreement = CheckpointError.malformed(
      file: file.path,
      reason: "its zip directory and the header at byte \(headerOffset) disagree about '\(name)'")
    guard try cursor.read(UInt32.self) == 0x0403_4B50 else { throw disagreement }
    _ = try cursor.take(2)  // version
    let local = try ZipHeader(reading: &cursor)
    let localName = try cursor.take(local.nameCount)
    let extra = try cursor.take(local.extraCount)
    guard file.holds(file.bytes[nameRange], at: localName.lowerBound),
      localName.count == nameRange.count, try agrees(local, extra: extra, in: file)
    else { throw disagreement }
    try local.requireStored(name: name, in: file)
    return try cursor.take(size)
  }

  private func agrees(
    _ local: ZipHeader, extra: Range<Int>, in file: MappedFile
  ) throws(CheckpointError) -> Bool {
    if local.isDescribedLater, local.checksum == 0, local.size == 0, local.compressedSize == 0 {
      return true
    }
    var large = try Zip64Values(file, extra: extra)
    let sizes = [try large.resolve(local.size), try large.resolve(local.compressedSize)]
    let isLeftOut = local.isDescribedLater && local.checksum == 0 && sizes == [0, 0]
    return isLeftOut || (local.checksum == header.checksum && sizes == [size, size])
  }
}
