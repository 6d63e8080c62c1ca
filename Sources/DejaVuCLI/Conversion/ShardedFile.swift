import DejaVuFormats

/// Tensors written one behind the other into files of a bounded size, with an index where there are
/// several.
struct ShardedFile {
  private let folder: NewFolder
  private let metadata: [String: String]
  private let shards: [[SafetensorsDeclaration]]
  private let shardOf: [String: Int]
  private var writer: SafetensorsWriter?
  private var current = -1
  let byteCount: Int

  /// - Parameters:
  ///   - folder: where the files go.
  ///   - tensors: all of them, in the order in which they will come.
  ///   - metadata: text pairs that every file gets.
  ///   - shardBytes: of a file at most, unless one tensor alone is larger.
  init(
    folder: NewFolder, tensors: [SafetensorsDeclaration], metadata: [String: String],
    shardBytes: Int
  ) {
    var shards: [[SafetensorsDeclaration]] = [[]]
    var shardOf: [String: Int] = [:]
    var (used, total) = (0, 0)
    for tensor in tensors {
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
    self.metadata = metadata
    self.shards = shards
    self.shardOf = shardOf
    byteCount = total
  }

  var fileCount: Int { shards.count }

  /// Appends a tensor's bytes; tensors come in the declared order.
  mutating func append(_ bytes: UnsafeRawBufferPointer, to name: String) throws {
    if let shard = shardOf[name], shard != current {
      try writer?.finish()
      writer = try SafetensorsWriter(
        path: folder.workPath + "/"
          + CheckpointExport.fileName(shard, of: shards.count),
        tensors: shards[shard], metadata: metadata)
      current = shard
    }
    try writer?.append(bytes, to: name)
  }

  mutating func append<Element: BitwiseCopyable>(_ elements: [Element], to name: String) throws {
    try elements.withUnsafeBufferPointer { try append(UnsafeRawBufferPointer($0), to: name) }
  }

  /// Completes the last file and writes the index.
  mutating func finish() throws {
    try writer?.finish()
    writer = nil
    guard shards.count > 1 else { return }
    let names = shardOf.sorted { $0.key < $1.key }.map {
      (key: $0.key, value: JSONValue.text(CheckpointExport.fileName($0.value, of: shards.count)))
    }
    let index: JSONValue = [
      "metadata": ["total_size": .whole(byteCount)], "weight_map": .object(names),
    ]
    let bytes = Array((index.description + "\n").utf8)
    try bytes.withUnsafeBytes { try folder.write($0, to: "model.safetensors.index.json") }
  }
}
