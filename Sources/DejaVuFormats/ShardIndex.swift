import DejaVuJSON

/// Which of several files holds each tensor: `model.safetensors.index.json` and its like.
public struct ShardIndex: Sendable {
  /// The index file itself, for messages.
  public let path: String
  /// The files, each once, in the order of their names.
  public let shards: [String]
  /// Tensor → file.
  public let shardOfTensor: [String: String]

  static let maximumBytes = 100_000_000
  static let limits = JSONLimits(depth: 16, values: 2_000_000)

  /// Reads the index at `path`.
  ///
  /// - Throws: ``CheckpointError`` when it is no strict JSON, or names a file that is not a bare
  ///   name: an index must not reach outside its own folder.
  public init(path: String) throws(CheckpointError) {
    let json = try JSONFile.object(at: path, maximumBytes: Self.maximumBytes, limits: Self.limits)
    let reader = ConfigReader(json: json, file: path)
    guard let members = json["weight_map"]?.members else {
      throw reader.invalid("weight_map", json["weight_map"], "an object")
    }
    let map = ConfigReader(json: json, file: path, prefix: "weight_map.")
    var shardOfTensor: [String: String] = [:]
    for member in members {
      let tensor = member.key.text
      guard let shard = member.value.text, Self.isBareName(shard) else {
        throw map.invalid(tensor, member.value, "the bare name of a file beside the index")
      }
      guard shardOfTensor.updateValue(shard, forKey: tensor) == nil else {
        throw .malformed(
          file: path, reason: "the tensor name '\(tensor)' stands there in two Unicode forms")
      }
    }
    self.path = path
    self.shardOfTensor = shardOfTensor
    shards = Set(shardOfTensor.values).sorted()
  }

  /// Gathers the tensors of all shards, each from the file that the index names.
  ///
  /// - Parameter entries: what each of `shards` holds.
  /// - Returns: the tensors, and the names of those that no line of the index mentions.
  /// - Throws: ``CheckpointError/misplacedTensor(name:expected:found:)`` for a tensor in another
  ///   file than named, or also in another;
  ///   ``CheckpointError/invalidTensor(file:name:reason:)`` for one that no file holds.
  package func gather(
    _ entries: [(shard: String, entries: [TensorEntry])]
  ) throws(CheckpointError) -> (tensors: [String: TensorEntry], extras: [String]) {
    var tensors: [String: TensorEntry] = [:]
    var extras: [String] = []
    var strays: [String: String] = [:]
    for (shard, entries) in entries {
      for entry in entries {
        guard let expected = shardOfTensor[entry.name] else {
          extras.append(entry.name)
          continue
        }
        if expected == shard { tensors[entry.name] = entry } else { strays[entry.name] = shard }
      }
    }
    if let stray = strays.min(by: { $0.key < $1.key }) {
      throw .misplacedTensor(
        name: stray.key, expected: shardOfTensor[stray.key] ?? "", found: stray.value)
    }
    if let missing = shardOfTensor.keys.filter({ tensors[$0] == nil }).min() {
      let shard = escaped(shardOfTensor[missing] ?? "")
      throw .invalidTensor(
        file: path, name: missing,
        reason: "the index says that '\(shard)' holds it, but no file does")
    }
    return (tensors, extras.sorted())
  }

  /// Whether `name` is a plain file name that cannot leave its folder.
  private static func isBareName(_ name: String) -> Bool {
    let bytes = Array(name.utf8)
    let separators: [UInt8] = [UInt8(ascii: "/"), UInt8(ascii: "\\")]
    return !bytes.isEmpty && bytes.count <= 255 && name != "." && name != ".."
      && !bytes.contains { $0 < 0x20 || $0 == 0x7F || separators.contains($0) }
  }
}

extension ShardIndex {
  /// Writes an index.
  ///
  /// - Parameters:
  ///   - files: tensor → bare name of its file.
  ///   - byteCount: bytes of all tensors.
  ///   - path: where the index goes.
  /// - Throws: ``CheckpointError/unwritable(path:reason:)``.
  package static func write(
    _ files: [String: String], byteCount: Int, to path: String
  ) throws(CheckpointError) {
    let lines = files.sorted { $0.key < $1.key }.map {
      "\(JSON.quoted($0.key)):\(JSON.quoted($0.value))"
    }
    let text =
      "{\"metadata\":{\"total_size\":\(byteCount)},\"weight_map\":{\(lines.joined(separator: ","))}}\n"
    let file = try AtomicFile(path: path)
    try Array(text.utf8).withUnsafeBufferPointer { bytes throws(CheckpointError) in
      try file.append(UnsafeRawBufferPointer(bytes))
    }
    try file.commit()
  }
}
