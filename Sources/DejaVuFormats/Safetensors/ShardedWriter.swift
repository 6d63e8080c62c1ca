/// Writes tensors one behind the other into safetensors files of a bounded size, with an index where
/// there are several.
///
/// Files are called `stem.safetensors`, or `stem-00001-of-00003.safetensors` beside
/// `stem.safetensors.index.json`. Each has its name only when it is complete.
package final class ShardedWriter {
  private let folder: String
  private let stem: String
  private let metadata: ([SafetensorsDeclaration]) -> [String: String]
  private let shards: [[SafetensorsDeclaration]]
  private let shardOf: [String: Int]
  private var writer: SafetensorsWriter?
  private var current = -1
  /// Bytes of all tensors.
  package let byteCount: Int

  /// Divides the tensors among files; nothing is written yet.
  ///
  /// - Parameters:
  ///   - folder: where the files go.
  ///   - stem: what their names begin with.
  ///   - tensors: all of them, in the order in which they will come.
  ///   - shardBytes: of a file at most, unless one tensor alone is larger.
  ///   - metadata: the text pairs of a file with these tensors.
  package init(
    folder: String, stem: String, tensors: [SafetensorsDeclaration], shardBytes: Int,
    metadata: @escaping ([SafetensorsDeclaration]) -> [String: String]
  ) {
    var shards: [[SafetensorsDeclaration]] = [[]]
    var shardOf: [String: Int] = [:]
    var (used, total) = (0, 0)
    for tensor in tensors {
      // What has no size is refused by the writer of its file.
      let bytes = tensor.type.byteCount(shape: tensor.shape) ?? 0
      if used > 0 && used + bytes > shardBytes {
        shards.append([])
        used = 0
      }
      shards[shards.count - 1].append(tensor)
      shardOf[tensor.name] = shards.count - 1
      used += bytes
      total += bytes
    }
    self.folder = folder
    self.stem = stem
    self.shards = shards
    self.shardOf = shardOf
    self.metadata = metadata
    byteCount = total
  }

  package var fileCount: Int { shards.count }

  /// Name of file `index` of `count`.
  package static func fileName(_ stem: String, _ index: Int, of count: Int) -> String {
    func five(_ number: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(5 - digits.count, 0)) + digits
    }
    return count == 1
      ? "\(stem).safetensors" : "\(stem)-\(five(index + 1))-of-\(five(count)).safetensors"
  }

  /// Appends the next bytes of a tensor; tensors come in the declared order.
  ///
  /// - Throws: ``CheckpointError/unwritable(path:reason:)``, as ``SafetensorsWriter``.
  package func append(_ bytes: UnsafeRawBufferPointer, to name: String) throws(CheckpointError) {
    if let shard = shardOf[name], shard != current {
      try writer?.finish()
      writer = try SafetensorsWriter(
        path: folder + "/" + Self.fileName(stem, shard, of: shards.count),
        tensors: shards[shard], metadata: metadata(shards[shard]))
      current = shard
    }
    try writer?.append(bytes, to: name)
  }

  /// Completes the last file and writes the index.
  ///
  /// - Throws: ``CheckpointError/unwritable(path:reason:)`` when tensors are missing.
  package func finish() throws(CheckpointError) {
    guard current == shards.count - 1 else {
      throw .unwritable(
        path: folder, reason: "bytes came for \(current + 1) of \(shards.count) files")
    }
    try writer?.finish()
    writer = nil
    guard shards.count > 1 else { return }
    let files = shardOf.mapValues { Self.fileName(stem, $0, of: shards.count) }
    try ShardIndex.write(
      files, byteCount: byteCount, to: "\(folder)/\(stem).safetensors.index.json")
  }
}
