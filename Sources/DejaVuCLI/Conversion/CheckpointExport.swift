import DejaVuFormats

/// Writes a checkpoint's tensors as safetensors, in as many files as needed.
///
/// Names, types and bytes stay; a tensor that only repeats another's bytes under a second name and
/// that no weight of the model needs (PyTorch's tied heads) is left out, as Hugging Face does.
struct CheckpointExport {
  struct Shard {
    var tensors: [(entry: TensorEntry, type: StoredType)] = []
    var bytes = 0
  }

  private(set) var shards: [Shard] = []
  let metadata: [String: String]
  var byteCount: Int { shards.reduce(0) { $0 + $1.bytes } }

  /// - Throws: ``CheckpointError`` for a tensor of a type that safetensors cannot name.
  init(_ checkpoint: Checkpoint, shardBytes: Int) throws(CheckpointError) {
    var metadata = checkpoint.metadata
    metadata["dejavu.fingerprint"] = metadata["dejavu.fingerprint"] ?? checkpoint.fingerprint
    // Transformers refuses a file whose metadata does not say which framework wrote it.
    metadata["format"] = metadata["format"] ?? "pt"
    self.metadata = metadata
    shards = [Shard()]
    for entry in Self.tensors(of: checkpoint) {
      guard let type = Self.type(of: entry) else {
        throw .invalidTensor(
          file: entry.file.path, name: entry.name,
          reason: "safetensors has no type '\(escaped(entry.storedType))'")
      }
      if let last = shards.last, !last.tensors.isEmpty, last.bytes + entry.range.count > shardBytes
      {
        shards.append(Shard())
      }
      shards[shards.count - 1].tensors.append((entry, type))
      shards[shards.count - 1].bytes += entry.range.count
    }
    // Wide types first: then every tensor starts at a multiple of its element's size.
    for index in shards.indices { shards[index].tensors.sort { $0.type.bits > $1.type.bits } }
  }

  /// In the order of the source's files, without repetitions.
  private static func tensors(of checkpoint: Checkpoint) -> [TensorEntry] {
    let used = Set(checkpoint.views.values.map(\.tensor))
    let sorted = checkpoint.tensors.values.sorted {
      ($0.file.path, $0.range.lowerBound, used.contains($0.name) ? 0 : 1, $0.name)
        < ($1.file.path, $1.range.lowerBound, used.contains($1.name) ? 0 : 1, $1.name)
    }
    var result: [TensorEntry] = []
    for entry in sorted {
      let repeats = result.last.map {
        $0.file === entry.file && $0.range == entry.range && !entry.range.isEmpty
      }
      if repeats == true && !used.contains(entry.name) { continue }
      result.append(entry)
    }
    return result
  }

  private static func type(of entry: TensorEntry) -> StoredType? {
    if let dtype = entry.dtype { return StoredType(dtype) }
    return StoredType(rawValue: entry.storedType) ?? pickleTypes[entry.storedType]
  }

  /// PyTorch's words for types that weights do not have.
  private static let pickleTypes: [String: StoredType] = [
    "DoubleStorage": .float64, "LongStorage": .int64, "IntStorage": .int32,
    "ShortStorage": .int16, "CharStorage": .int8, "ByteStorage": .uint8, "BoolStorage": .bool,
    "uint16": .uint16, "uint32": .uint32, "uint64": .uint64, "float8_e4m3fn": .float8e4m3,
    "float8_e4m3fnuz": .float8e4m3fnuz, "float8_e5m2": .float8e5m2,
    "float8_e5m2fnuz": .float8e5m2fnuz, "float8_e8m0fnu": .float8e8m0,
  ]

  /// Name of a shard's file.
  func fileName(_ index: Int) -> String {
    ShardedWriter.fileName("model", index, of: shards.count)
  }

  /// Writes every file and, where there are several, their index.
  ///
  /// - Parameters:
  ///   - folder: where the files go.
  ///   - progress: called after each piece with the bytes written so far; it may throw to give up.
  /// - Throws: ``CheckpointError/unwritable(path:reason:)``, or what `progress` throws.
  func write(to folder: NewFolder, progress: (Int) throws -> Void) throws {
    let piece = 16 << 20
    var done = 0
    for (index, shard) in shards.enumerated() {
      let writer = try SafetensorsWriter(
        path: folder.workPath + "/" + fileName(index),
        tensors: shard.tensors.map {
          SafetensorsDeclaration(name: $0.entry.name, type: $0.type, shape: $0.entry.shape)
        },
        metadata: metadata)
      for (entry, _) in shard.tensors {
        for start in stride(from: 0, to: entry.range.count, by: piece) {
          let end = min(start + piece, entry.range.count)
          try writer.append(
            UnsafeRawBufferPointer(rebasing: entry.bytes[start..<end]), to: entry.name)
          done += end - start
          try progress(done)
        }
        entry.file.discard(entry.range)
      }
      try writer.finish()
    }
    guard shards.count > 1 else { return }
    var files: [String: String] = [:]
    for (index, shard) in shards.enumerated() {
      for tensor in shard.tensors { files[tensor.entry.name] = fileName(index) }
    }
    try ShardIndex.write(
      files, byteCount: byteCount, to: folder.workPath + "/model.safetensors.index.json")
  }
}
