package import DejaVuFormats

/// Writes a packed model tensor by tensor: see ``PackedFile`` for what the files hold.
package final class PackedWriter {
  /// The tensors in the order in which they must come: plain ones, which fill whole cache lines,
  /// before groupwise ones, whose rows are multiples of 4 bytes, so that all are aligned without gaps.
  package let entries: [PackedLayout.Entry]
  private let writer: ShardedWriter

  /// - Parameters:
  ///   - layout: the model's tensors.
  ///   - folder: where the files go.
  ///   - metadata: text pairs that travel with every file.
  ///   - shardBytes: of a file at most, unless one tensor alone is larger.
  package init(
    _ layout: PackedLayout, folder: String, metadata: [String: String], shardBytes: Int = .max
  ) {
    let entries = Self.order(layout)
    let formats = Dictionary(uniqueKeysWithValues: entries.map { ($0.name, $0.format) })
    let version = Self.version(of: entries)
    self.entries = entries
    writer = ShardedWriter(
      folder: folder, stem: PackedFile.stem,
      tensors: entries.map {
        SafetensorsDeclaration(name: $0.name, type: PackedFile.storedType($0), shape: $0.shape)
      }, shardBytes: shardBytes
    ) { tensors in
      var pairs = metadata
      pairs[PackedFile.versionKey] = version
      for tensor in tensors {
        guard let format = formats[tensor.name], format.dtype == nil else { continue }
        pairs[PackedFile.formatKey + tensor.name] = format.name
      }
      return pairs
    }
  }

  package var fileCount: Int { writer.fileCount }
  package var byteCount: Int { writer.byteCount }

  /// Appends the next bytes of a tensor.
  ///
  /// - Throws: ``CheckpointError/unwritable(path:reason:)`` when it is not that tensor's turn, or the
  ///   disk refuses.
  package func append(
    _ bytes: UnsafeRawBufferPointer, to entry: PackedLayout.Entry
  ) throws(CheckpointError) {
    try writer.append(bytes, to: entry.name)
  }

  /// Completes the files.
  package func finish() throws(CheckpointError) { try writer.finish() }

  private static func version(of entries: [PackedLayout.Entry]) -> String {
    let shares = entries.contains { if case .scales = $0.format { true } else { false } }
    if shares { return PackedFile.sharedVersion }
    let isPlain = entries.allSatisfy { $0.format.groupwise == nil }
    return isPlain ? PackedFile.plainVersion : PackedFile.groupwiseVersion
  }

  private static func order(_ layout: PackedLayout) -> [PackedLayout.Entry] {
    layout.entries.filter { $0.format.groupwise == nil }
      + layout.entries.filter { $0.format.groupwise != nil }
  }
}
