/// The fields that an entry's directory header and its local header have in common.
struct ZipHeader {
  let flags: UInt16
  let method: UInt16
  let checksum: UInt32
  let compressedSize: UInt32
  let size: UInt32
  let nameCount: Int
  let extraCount: Int

  /// Reads the 24 bytes from the flags on.
  init(reading cursor: inout ByteCursor) throws(CheckpointError) {
    flags = try cursor.read(UInt16.self)
    method = try cursor.read(UInt16.self)
    _ = try cursor.take(4)  // time and date
    checksum = try cursor.read(UInt32.self)
    compressedSize = try cursor.read(UInt32.self)
    size = try cursor.read(UInt32.self)
    nameCount = Int(try cursor.read(UInt16.self))
    extraCount = Int(try cursor.read(UInt16.self))
  }

  /// Whether sizes and checksum follow the data, so that the local header may leave them zero.
  var isDescribedLater: Bool { flags & 0x8 != 0 }

  /// Refuses what makes an entry unreadable in place.
  func requireStored(name: String, in file: MappedFile) throws(CheckpointError) {
    guard flags & ~0x0808 == 0 else {
      throw .unsupported(
        file: file.path,
        reason: "its entry '\(name)' is encrypted or has other unknown zip flags "
          + "(0x\(String(flags, radix: 16))); save the checkpoint again with PyTorch")
    }
    guard method == 0 else {
      throw .unsupported(
        file: file.path,
        reason: "its entry '\(name)' is compressed (\(method == 8 ? "deflate" : "method \(method)")"
          + "); PyTorch never compresses, so save the checkpoint again with PyTorch")
    }
  }
}

/// The 64-bit values of an entry's extra field, in the order in which they are asked for.
struct Zip64Values {
  private var cursor: ByteCursor

  /// Walks the blocks of `extra` to the 64-bit one; without one, every value asked for is missing.
  init(_ file: MappedFile, extra: Range<Int>) throws(CheckpointError) {
    var blocks = ByteCursor(file, extra, part: "zip extra field")
    cursor = ByteCursor(file, extra.upperBound..<extra.upperBound, part: "zip64 extra field")
    // Fewer than four bytes cannot be a block; some writers pad with them.
    while blocks.end - blocks.position >= 4 {
      let tag = try blocks.read(UInt16.self)
      let body = try blocks.take(Int(try blocks.read(UInt16.self)))
      guard tag == 1 else { continue }
      cursor = ByteCursor(file, body, part: "zip64 extra field")
      return
    }
  }

  /// `field`, or the next 64-bit value if the field says that it did not fit.
  mutating func resolve(_ field: UInt32) throws(CheckpointError) -> Int {
    field == UInt32.max ? Int(clamping: try cursor.read(UInt64.self)) : Int(field)
  }
}
