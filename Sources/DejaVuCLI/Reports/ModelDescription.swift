import DejaVu
import DejaVuCore
import DejaVuFormats

/// What lies in a model's folder, read without packing it.
struct ModelDescription {
  let folder: String
  let architecture: Architecture
  let fingerprint: String
  let warnings: [String]
  let metadata: [String: String]
  /// Whether the folder was made by `dejavu pack`, so that the weights are used in place.
  let isPacked: Bool
  /// The types of the weights, by falling bytes.
  let types: [(dtype: DType, bytes: Int)]
  /// Bytes that each part takes in the files.
  let bytes: [String: Int]

  var isSynthetic: Bool { metadata["dejavu.synthetic"] != nil }
  var dtype: DType { types.first?.dtype ?? .float32 }
  var totalBytes: Int { bytes.values.reduce(0, +) }

  init(folder: String) throws {
    let packed = folder + "/" + PackedFile.fileName
    if FileSystem.exists(packed) {
      try self.init(packed: packed, folder: folder)
    } else {
      try self.init(checkpoint: try Checkpoint.open(folder: folder))
    }
  }

  private init(checkpoint: Checkpoint) throws {
    folder = checkpoint.folder
    architecture = checkpoint.architecture
    metadata = checkpoint.metadata
    fingerprint = metadata["dejavu.fingerprint"] ?? checkpoint.fingerprint
    warnings = checkpoint.warnings
    isPacked = false
    var (bytes, types): ([String: Int], [DType: Int]) = ([:], [:])
    for (role, view) in checkpoint.views {
      guard let dtype = checkpoint.tensors[view.tensor]?.dtype else { continue }
      let count = view.rows * view.columns * dtype.size
      bytes[Self.part(of: role), default: 0] += count
      types[dtype, default: 0] += count
    }
    self.bytes = bytes
    self.types = Self.sorted(types)
  }

  private init(packed path: String, folder: String) throws {
    let config = try ModelConfig(path: folder + "/config.json")
    metadata = try PackedFile.open(path: path, architecture: config.architecture).metadata
    self.folder = folder
    architecture = config.architecture
    fingerprint = metadata["dejavu.fingerprint"] ?? "unknown"
    warnings = config.warnings
    isPacked = true
    var (bytes, types): ([String: Int], [DType: Int]) = ([:], [:])
    for entry in try SafetensorsFile(path: path).entries {
      bytes[Self.part(ofPacked: entry.name), default: 0] += entry.range.count
      // Vectors are float32 in every packed file and say nothing about the weights.
      guard let dtype = entry.dtype, entry.shape.count > 1 else { continue }
      types[dtype, default: 0] += entry.range.count
    }
    self.bytes = bytes
    self.types = Self.sorted(types)
  }

  private static func sorted(_ types: [DType: Int]) -> [(dtype: DType, bytes: Int)] {
    types.map { (dtype: $0.key, bytes: $0.value) }.sorted { $0.bytes > $1.bytes }
  }

  private static func part(of role: WeightRole) -> String {
    switch role {
    case .tokenEmbedding: "embedding"
    case .positionEmbedding: "positions"
    case .projectIn, .projectOut: "projections"
    case .head: "head"
    case .embeddingNorm, .finalNorm: "norms"
    case .layer(_, let role):
      switch role {
      case .attentionNorm, .mlpNorm: "norms"
      case .query, .key, .value, .output, .queryBias, .keyBias, .valueBias, .outputBias:
        "attention"
      case .gate, .up, .down, .gateBias, .upBias, .downBias: "mlp"
      }
    }
  }

  private static func part(ofPacked name: String) -> String {
    if name.contains("norm.") { return "norms" }
    if name.contains(".attention.") { return "attention" }
    if name.contains(".mlp.") { return "mlp" }
    if name.hasPrefix("project.") { return "projections" }
    return name == "embed.tokens" ? "embedding" : name == "embed.positions" ? "positions" : name
  }
}
