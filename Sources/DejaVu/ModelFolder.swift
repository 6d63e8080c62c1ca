package import DejaVuCPU
package import DejaVuCore
package import DejaVuFormats

/// A model loaded from a folder, and what is known about it.
package struct LoadedModel {
  package let model: PackedModel
  /// Token ids that `generation_config.json` does not name are those of `config.json`.
  package let generation: GenerationConfig
  /// Text pairs of the weight files' headers.
  package let metadata: [String: String]
  /// SHA-256 over the source's configuration and sampled weights.
  package let fingerprint: String
  /// What the files say and is ignored, one sentence each.
  package let warnings: [String]
  /// Whether the weights are used in place from a packed file.
  package let isMapped: Bool
  /// Bytes of the weights in the engine's layout.
  package let byteCount: Int
  /// The packed tensors, when they were packed in memory.
  package let layout: PackedLayout?

  /// Whether the weights are random numbers and every figure is about speed only.
  package var isSynthetic: Bool { metadata["dejavu.synthetic"] != nil }
}

/// Opens models: packed ones in place, checkpoints by packing them.
package enum ModelFolder {
  /// - Throws: ``CheckpointError`` or ``BackendError``.
  package static func load(
    _ path: String, team: ThreadTeam, progress: (LoadingProgress) -> Void = { _ in }
  ) throws -> LoadedModel {
    if PackedFile.isIn(path) { return try loadPacked(folder: path) }
    let checkpoint = try Checkpoint.open(folder: path)
    let fingerprint = checkpoint.metadata["dejavu.fingerprint"] ?? checkpoint.fingerprint
    for tensor in checkpoint.codes.values { try tensor.validate() }
    let (model, layout) = try ModelPacker.pack(checkpoint, team: team, progress: progress)
    return LoadedModel(
      model: model, generation: checkpoint.generation, metadata: checkpoint.metadata,
      fingerprint: fingerprint, warnings: checkpoint.warnings, isMapped: false,
      byteCount: layout.byteCount,
      layout: layout)
  }

  private static func loadPacked(folder: String) throws -> LoadedModel {
    let config = try ModelConfig(path: folder + "/config.json")
    let opened = try PackedFile.open(folder: folder, architecture: config.architecture)
    let generation = try config.generation(in: folder)
    return LoadedModel(
      model: opened.model, generation: generation, metadata: opened.metadata,
      fingerprint: opened.metadata["dejavu.fingerprint"] ?? "unknown",
      warnings: config.warnings + generation.warnings, isMapped: true,
      byteCount: opened.layout.byteCount, layout: nil)
  }
}
