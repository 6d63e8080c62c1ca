package import DejaVuCore
package import DejaVuFormats

/// A model in the engine's layout on disk: mapped and used in place, answering at once.
///
/// A safetensors file named `packed.safetensors` beside `config.json` and the tokenizer's files;
/// its tensors are those of ``PackedLayout``.
package enum PackedFile {
  package static let fileName = "packed.safetensors"
  private static let version = "1"

  /// Writes a packed model; `metadata` travels with it.
  package static func write(
    _ layout: PackedLayout, base: UnsafeRawPointer, to path: String, metadata: [String: String],
    progress: (LoadingProgress) -> Void
  ) throws(CheckpointError) {
    let writer = try SafetensorsWriter(
      path: path,
      tensors: layout.entries.map {
        SafetensorsDeclaration(name: $0.name, type: StoredType($0.dtype), shape: $0.shape)
      },
      metadata: metadata.merging(["dejavu.packed_version": version]) { $1 })
    let piece = 16 << 20
    for entry in layout.entries {
      for start in stride(from: 0, to: entry.byteCount, by: piece) {
        let bytes = UnsafeRawBufferPointer(
          start: base + entry.offset + start, count: min(piece, entry.byteCount - start))
        try writer.append(bytes, to: entry.name)
        progress(
          LoadingProgress(
            bytesDone: entry.offset + start + bytes.count, bytesTotal: layout.byteCount))
      }
    }
    try writer.finish()
  }

  /// Maps a packed file and checks every tensor against what the architecture implies.
  package static func open(
    path: String, architecture: Architecture
  ) throws(CheckpointError) -> (model: PackedModel, metadata: [String: String]) {
    let file = try SafetensorsFile(path: path)
    guard file.metadata["dejavu.packed_version"] == version else {
      throw .unsupported(
        file: path,
        reason: "it is packed in version '\(file.metadata["dejavu.packed_version"] ?? "none")' "
          + "and this program reads version \(version); pack the model again")
    }
    let tensors = Dictionary(file.entries.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
    let layout = PackedLayout(architecture: architecture, types: types(tensors, architecture))
    for entry in layout.entries { try check(entry, tensors[entry.name], path: path) }
    guard let base = file.file.bytes.baseAddress else {
      throw .malformed(file: path, reason: "it is empty")
    }
    let model = layout.model(owner: file.file) { entry in
      base + (tensors[entry.name]?.range.lowerBound ?? 0)
    }
    return (model, file.metadata)
  }

  private static func types(
    _ tensors: [String: TensorEntry], _ architecture: Architecture
  ) -> PackedLayout.Types {
    func type(_ name: String) -> WeightFormat { .plain(tensors[name]?.dtype ?? .float32) }
    var types = PackedLayout.Types(uniform: .float32, layers: architecture.layers)
    types.embedding = type("embed.tokens")
    types.positions = type("embed.positions")
    types.projections = type("project.in")
    types.head = type("head")
    types.attention = (0..<architecture.layers).map { type("layers.\($0).attention.query") }
    types.mlp = (0..<architecture.layers).map { type("layers.\($0).mlp.bundle") }
    return types
  }

  private static func check(
    _ entry: PackedLayout.Entry, _ tensor: TensorEntry?, path: String
  ) throws(CheckpointError) {
    guard let tensor else { throw .missingTensor(name: entry.name, folder: path) }
    guard tensor.shape == entry.shape else {
      throw .shapeMismatch(name: entry.name, expected: entry.shape, found: tensor.shape)
    }
    guard tensor.dtype == entry.dtype else {
      throw .invalidTensor(
        file: path, name: entry.name,
        reason: "it is stored as \(tensor.storedType) but its neighbours are "
          + "\(entry.dtype.rawValue)")
    }
    guard tensor.range.lowerBound % 64 == 0 else {
      throw .invalidTensor(
        file: path, name: entry.name,
        reason: "it starts at byte \(tensor.range.lowerBound), not at a multiple of 64")
    }
  }
}
