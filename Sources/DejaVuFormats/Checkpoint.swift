public import DejaVuCore

/// A model on disk: its configuration and where each of its weights lies, checked against each
/// other; nothing is copied yet.
public struct Checkpoint: Sendable {
  /// The folder that holds `config.json`, also when a weight file in it was named.
  public let folder: String
  /// From `config.json`; `tensors` have the shapes that it implies.
  public let architecture: Architecture
  /// From `generation_config.json`; token ids that it does not name are those of `config.json`.
  public let generation: GenerationConfig
  /// Every tensor with a plain ASCII name, by that name.
  public let tensors: [String: TensorEntry]
  /// Every weight that the architecture implies and that is stored as numbers; each is in `tensors`
  /// with the right shape.
  public let views: [WeightRole: TensorView]
  /// The weights that are stored as codes.
  public let codes: [WeightRole: CodedTensor]
  /// The text pairs of the weight files' headers, and by which method codes were found.
  public let metadata: [String: String]
  /// What was found and is ignored, one sentence each.
  public let warnings: [String]

  /// Key of the text pair that says by which method codes were found.
  package static let quantizationKey = "dejavu.quantization"

  /// Opens the checkpoint in a folder.
  ///
  /// - Parameter path: the folder, or one weight file inside it. In a folder the first of
  ///   `model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin` and
  ///   `pytorch_model.bin.index.json` is used.
  /// - Returns: a checkpoint whose every weight is there, in the right shape.
  /// - Throws: ``CheckpointError``, when a file is missing, damaged or contradicts another.
  public static func open(folder path: String) throws(CheckpointError) -> Checkpoint {
    let source = try WeightSource.find(path)
    let config = try ModelConfig(path: source.folder + "/config.json")
    let generation = try config.generation(in: source.folder)
    let weights = try source.load()
    let architecture = config.architecture
    let codes =
      try config.codes.map { published throws(CheckpointError) in
        try WeightMap.codes(for: architecture, published, tensors: weights.tensors)
      } ?? [:]
    let views = try WeightMap.views(
      for: architecture, tensors: weights.tensors, coded: Set(codes.keys))
    let extras =
      try WeightMap.extras(for: architecture, tensors: weights.tensors, codes: codes)
      + weights.extras
    var metadata = weights.metadata
    if let published = config.codes, !codes.isEmpty {
      metadata[quantizationKey] = "\(published.method.rawValue), as published"
    }
    return Checkpoint(
      folder: source.folder, architecture: architecture, generation: generation,
      tensors: weights.tensors, views: views, codes: codes, metadata: metadata,
      warnings: config.warnings + generation.warnings + warnings(extras: extras))
  }

  /// One sentence for each extra tensor, and one for the rest where there are many.
  private static func warnings(extras: [String]) -> [String] {
    let shown = 20
    let sentences = extras.prefix(shown).map {
      "tensor '\(escaped($0))' is not part of the architecture and is ignored"
    }
    guard extras.count > shown else { return sentences }
    return sentences + ["\(extras.count - shown) more such tensors are ignored"]
  }
}
