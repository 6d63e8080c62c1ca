package import DejaVuFormats

/// A model in the engine's layout on disk: mapped and used in place, answering at once.
///
/// Safetensors named `packed.safetensors`, or several files and `packed.safetensors.index.json`,
/// beside `config.json` and the tokenizer's files. The tensors are those of ``PackedLayout``;
/// Documentation/Packed.md describes them. A groupwise tensor is `U8`, `[rows, row bytes]`, and its
/// format stands in the metadata of its file.
package enum PackedFile {
  static let stem = "packed"
  package static let fileName = stem + ".safetensors"
  package static let indexName = fileName + ".index.json"
  static let versionKey = "dejavu.packed_version"
  /// Of files without groupwise tensors, which older programs read too, of those with, and of those
  /// in which rows of W_O and W2 share scales wherever they are codes.
  static let plainVersion = "1"
  static let groupwiseVersion = "2"
  static let sharedVersion = "3"
  static let versions = [plainVersion, groupwiseVersion, sharedVersion]
  /// What stands before the name of a groupwise tensor in the key of its format's name.
  static let formatKey = "dejavu.format."

  /// Whether a folder holds a packed model.
  package static func isIn(_ folder: String) -> Bool {
    [fileName, indexName].contains { FileSystem.exists(folder + "/" + $0) }
  }

  static func storedType(_ entry: PackedLayout.Entry) -> StoredType {
    entry.format.dtype.map { StoredType($0) } ?? .uint8
  }

  /// Writes a packed model that lies in memory one tensor behind the other.
  ///
  /// - Parameters:
  ///   - layout: its tensors.
  ///   - base: where the first one starts.
  ///   - folder: where the files go.
  ///   - metadata: text pairs that travel with them.
  ///   - shardBytes: of a file at most, unless one tensor alone is larger.
  ///   - progress: called after every piece; it may throw to give up.
  /// - Returns: the number of files.
  /// - Throws: ``CheckpointError/unwritable(path:reason:)``, or what `progress` throws.
  @discardableResult
  package static func write(
    _ layout: PackedLayout, base: UnsafeRawPointer, to folder: String,
    metadata: [String: String], shardBytes: Int = .max, progress: (LoadingProgress) throws -> Void
  ) throws -> Int {
    let writer = PackedWriter(layout, folder: folder, metadata: metadata, shardBytes: shardBytes)
    let piece = 16 << 20
    var done = 0
    for entry in writer.entries {
      for start in stride(from: 0, to: entry.byteCount, by: piece) {
        let bytes = UnsafeRawBufferPointer(
          start: base + entry.offset + start, count: min(piece, entry.byteCount - start))
        try writer.append(bytes, to: entry)
        done += bytes.count
        try progress(LoadingProgress(bytesDone: done, bytesTotal: layout.byteCount))
      }
    }
    try writer.finish()
    return writer.fileCount
  }
}
