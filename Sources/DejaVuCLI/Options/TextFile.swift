import DejaVuFormats

/// Texts that commands work on.
enum TextFile {
  /// Greatest size; a larger text would not fit beside a model.
  private static let limit = 1 << 30

  /// All bytes of a file.
  ///
  /// - Throws: ``CheckpointError/unreadable(path:reason:)``.
  static func read(_ path: String) throws(CheckpointError) -> [UInt8] {
    let file = try MappedFile(path: path)
    guard file.bytes.count <= limit else {
      throw .unreadable(
        path: path, reason: "it is larger than \(Quantity.bytes(limit)); cut it into parts")
    }
    return file.withBytes { Array($0) }
  }
}
