/// Where a zip archive's directory lies, by the records at its end.
///
/// Only what PyTorch writes is read: the end record is the file's last 22 bytes (an archive comment
/// is where a second, false end record would hide), one disk, and the directory directly before
/// the end records.
struct ZipEndRecord {
  /// More entries than any model has tensors; the directory is read as a whole.
  static let maximumEntryCount = 1 << 20

  private(set) var entryCount: Int
  private(set) var directory: Range<Int>

  init(_ file: MappedFile) throws(CheckpointError) {
    let start = file.bytes.count - 22
    guard file.holds([0x50, 0x4B, 0x05, 0x06], at: start) else {
      throw .malformed(
        file: file.path,
        reason: "it does not end with a zip end record: it is cut short or goes on after its end")
    }
    var cursor = ByteCursor(file, start..<file.bytes.count, part: "zip end record")
    _ = try cursor.take(4)
    let disks = try cursor.read(UInt32.self)
    let countOnDisk = try cursor.read(UInt16.self)
    let count = try cursor.read(UInt16.self)
    let size = try cursor.read(UInt32.self)
    let offset = try cursor.read(UInt32.self)
    let comment = try cursor.read(UInt16.self)
    guard disks == 0, countOnDisk == count, comment == 0 else {
      throw .malformed(file: file.path, reason: "its zip end record is not that of one whole file")
    }
    if let large = try Zip64EndRecord(file, before: start) {
      try large.requireAgreement(count: count, size: size, offset: offset, in: file)
      (entryCount, directory) = (large.entryCount, large.directory)
    } else {
      (entryCount, directory) = (Int(count), Int(offset)..<Int(offset) + Int(size))
      guard directory.upperBound == start else {
        throw .malformed(
          file: file.path,
          reason: "its zip directory should end at byte \(start) but the end record says "
            + "\(directory)")
      }
    }
    guard entryCount <= Self.maximumEntryCount, entryCount <= directory.count / 46 else {
      throw .malformed(
        file: file.path,
        reason: "its zip end record promises \(entryCount) entries in \(directory.count) bytes")
    }
  }
}

/// The 64-bit end record, which current PyTorch versions always write.
private struct Zip64EndRecord {
  let entryCount: Int
  let directory: Range<Int>

  /// Nil if there is no locator before `end`, where the plain end record starts.
  init?(_ file: MappedFile, before end: Int) throws(CheckpointError) {
    let locator = end - 20
    guard file.holds([0x50, 0x4B, 0x06, 0x07], at: locator) else { return nil }
    let lie = CheckpointError.malformed(
      file: file.path, reason: "its zip64 end record and the file's layout disagree")
    var cursor = ByteCursor(file, locator..<end, part: "zip64 locator")
    _ = try cursor.take(4)
    let firstDisk = try cursor.read(UInt32.self)
    let start = Int(clamping: try cursor.read(UInt64.self))
    let diskCount = try cursor.read(UInt32.self)
    guard firstDisk == 0, diskCount <= 1, start <= locator - 56,
      file.holds([0x50, 0x4B, 0x06, 0x06], at: start)
    else { throw lie }

    cursor = ByteCursor(file, start..<locator, part: "zip64 end record")
    _ = try cursor.take(4)
    let recordSize = try cursor.read(UInt64.self)
    _ = try cursor.take(4)  // versions
    let disks = try cursor.read(UInt64.self)
    let countOnDisk = try cursor.read(UInt64.self)
    let count = try cursor.read(UInt64.self)
    let size = try cursor.read(UInt64.self)
    let offset = try cursor.read(UInt64.self)
    guard recordSize == UInt64(locator - start - 12), disks == 0, countOnDisk == count,
      size <= UInt64(start), offset == UInt64(start) - size
    else { throw lie }
    entryCount = Int(clamping: count)
    directory = Int(offset)..<start
  }

  /// Checks that each field of the plain end record says the same or "see the 64-bit record".
  func requireAgreement(
    count: UInt16, size: UInt32, offset: UInt32, in file: MappedFile
  ) throws(CheckpointError) {
    guard count == UInt16.max || Int(count) == entryCount,
      size == UInt32.max || Int(size) == directory.count,
      offset == UInt32.max || Int(offset) == directory.lowerBound
    else {
      throw .malformed(file: file.path, reason: "its two zip end records contradict each other")
    }
  }
}
