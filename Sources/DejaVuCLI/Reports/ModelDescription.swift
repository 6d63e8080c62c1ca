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
  /// What the weights are stored in, by falling bytes.
  let formats: [(format: WeightFormat, bytes: Int)]
  /// Bytes that each part takes in the files.
  let bytes: [String: Int]

  var isSynthetic: Bool { metadata["dejavu.synthetic"] != nil }
  /// What most weights are stored in.
  var format: WeightFormat { formats.first?.format ?? .plain(.float32) }
  /// Bytes of the weights as the engine lays them out.
  let layoutBytes: Int
  var totalBytes: Int { bytes.values.reduce(0, +) }

  init(folder: String) throws {
    if PackedFile.isIn(folder) {
      try self.init(packed: folder)
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
    layoutBytes = ModelPacker.layout(of: checkpoint).byteCount
    isPacked = false
    var (bytes, formats): ([String: Int], [WeightFormat: Int]) = ([:], [:])
    for (role, view) in checkpoint.views {
      guard let dtype = checkpoint.tensors[view.tensor]?.dtype else { continue }
      let count = view.rows * view.columns * dtype.size
      bytes[Self.part(of: role), default: 0] += count
      formats[.plain(dtype), default: 0] += count
    }
    for (role, tensor) in checkpoint.codes {
      bytes[Self.part(of: role), default: 0] += tensor.byteCount
      formats[.groupwise(tensor.format), default: 0] += tensor.byteCount
    }
    self.bytes = bytes
    self.formats = Self.sorted(formats)
  }

  private init(packed folder: String) throws {
    let config = try ModelConfig(path: folder + "/config.json")
    let opened = try PackedFile.open(folder: folder, architecture: config.architecture)
    metadata = opened.metadata
    self.folder = folder
    architecture = config.architecture
    fingerprint = metadata["dejavu.fingerprint"] ?? "unknown"
    warnings = config.warnings
    layoutBytes = opened.layout.byteCount
    isPacked = true
    var (bytes, formats): ([String: Int], [WeightFormat: Int]) = ([:], [:])
    for entry in opened.layout.entries {
      bytes[Self.part(ofPacked: entry.name), default: 0] += entry.byteCount
      // Vectors are float32 in every packed file and say nothing about the weights.
      guard entry.shape.count > 1 else { continue }
      formats[entry.format, default: 0] += entry.byteCount
    }
    self.bytes = bytes
    self.formats = Self.sorted(formats)
  }

  private static func sorted(
    _ formats: [WeightFormat: Int]
  ) -> [(format: WeightFormat, bytes: Int)] {
    formats.map { (format: $0.key, bytes: $0.value) }
      .sorted { ($0.bytes, $0.format.name) > ($1.bytes, $1.format.name) }
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
