/// The files that hold a checkpoint's weights.
struct WeightSource {
  enum Format { case safetensors, pickle }

  /// What the files hold together.
  struct Weights {
    var tensors: [String: TensorEntry] = [:]
    var metadata: [String: String] = [:]
    /// Names that no weight can have, or that an index does not mention.
    var extras: [String] = []
  }

  let folder: String
  let file: String
  let format: Format
  let isIndex: Bool

  /// What is looked for in a folder, in order.
  private static let candidates: [(name: String, format: Format, isIndex: Bool)] = [
    ("model.safetensors", .safetensors, false),
    ("model.safetensors.index.json", .safetensors, true),
    ("pytorch_model.bin", .pickle, false),
    ("pytorch_model.bin.index.json", .pickle, true),
  ]

  /// Finds the weights in a folder, or takes the named file.
  static func find(_ path: String) throws(CheckpointError) -> WeightSource {
    guard try FileSystem.isFolder(path) else { return try named(path) }
    for (name, format, isIndex) in candidates where FileSystem.exists("\(path)/\(name)") {
      return WeightSource(folder: path, file: name, format: format, isIndex: isIndex)
    }
    let names = candidates.map { $0.name }.joined(separator: ", ")
    throw .unreadable(path: path, reason: "the folder holds no weights; looked for \(names)")
  }

  private static func named(_ path: String) throws(CheckpointError) -> WeightSource {
    let slash = path.lastIndex(of: "/")
    let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
    for (suffix, format) in [(".safetensors", Format.safetensors), (".bin", .pickle)] {
      for ending in [suffix, suffix + ".index.json"] where name.hasSuffix(ending) {
        return WeightSource(folder: folder, file: name, format: format, isIndex: ending != suffix)
      }
    }
    throw .unsupported(
      file: path, reason: "its name ends neither in .safetensors nor in .bin; name the folder")
  }

  /// Maps every file and gathers the tensors.
  func load() throws(CheckpointError) -> Weights {
    var weights = Weights()
    guard isIndex else {
      let entries = try entries(of: file, into: &weights)
      for entry in entries {
        guard weights.tensors.updateValue(entry, forKey: entry.name) == nil else {
          throw .invalidTensor(
            file: "\(folder)/\(file)", name: entry.name, reason: "it is there twice")
        }
      }
      return weights
    }
    let index = try ShardIndex(path: "\(folder)/\(file)")
    var shards: [(shard: String, entries: [TensorEntry])] = []
    for shard in index.shards {
      shards.append((shard, try entries(of: shard, into: &weights)))
    }
    let gathered = try index.gather(shards)
    weights.tensors = gathered.tensors
    weights.extras += gathered.extras
    return weights
  }

  /// The tensors of one file whose names a weight could have.
  private func entries(
    of name: String, into weights: inout Weights
  ) throws(CheckpointError) -> [TensorEntry] {
    let path = "\(folder)/\(name)"
    let entries: [TensorEntry]
    switch format {
    case .safetensors:
      let file = try SafetensorsFile(path: path)
      entries = file.entries
      weights.metadata.merge(file.metadata) { first, _ in first }
    case .pickle:
      entries = try PickleCheckpointFile.entries(path: path)
    }
    // Swift's strings hold two Unicode forms of a name for one; no weight's name is affected,
    // because all of them are ASCII.
    weights.extras += entries.map { $0.name }.filter { !$0.utf8.allSatisfy { $0 < 0x80 } }
    return entries.filter { $0.name.utf8.allSatisfy { $0 < 0x80 } }
  }
}
