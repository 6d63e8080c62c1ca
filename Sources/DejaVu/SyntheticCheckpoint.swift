package import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import Foundation

/// A Hugging Face OPT checkpoint of a given shape with the numbers of ``SyntheticWeights``.
///
/// Written tensor by tensor in pieces, so that the largest shape needs no more memory than a
/// piece. There is no tokenizer: such a checkpoint is for measuring.
package struct SyntheticCheckpoint {
  private struct Tensor {
    let role: WeightRole
    let view: TensorView
    let byteCount: Int
  }

  private let shape: ModelShape
  private let weights: SyntheticWeights
  private var shards: [[Tensor]] = [[]]
  /// Bytes of all tensors.
  package let byteCount: Int
  package var tensorCount: Int { shards.reduce(0) { $0 + $1.count } }
  package var fileCount: Int { shards.count }

  /// Plans the files; nothing is written yet.
  ///
  /// - Parameters:
  ///   - shape: the sizes.
  ///   - options: type, seed and density of the numbers.
  ///   - shardBytes: bytes of a file at most, where a single tensor is not larger.
  package init(shape: ModelShape, options: SyntheticWeights.Options, shardBytes: Int) {
    self.shape = shape
    weights = SyntheticWeights(architecture: shape.architecture, options: options)
    let tensors = WeightMap.plan(for: shape.architecture).map { role, view in
      Tensor(
        role: role, view: view,
        byteCount: view.storedShape.reduce(options.dtype.size, *))
    }
    byteCount = tensors.reduce(0) { $0 + $1.byteCount }
    var inLast = 0
    for tensor in tensors {
      if inLast > 0 && inLast + tensor.byteCount > shardBytes {
        shards.append([])
        inLast = 0
      }
      shards[shards.count - 1].append(tensor)
      inLast += tensor.byteCount
    }
  }

  /// Looks whether the disk has room for a folder that is to be made.
  ///
  /// - Throws: ``CheckpointError/unwritable(path:reason:)`` naming what is needed and what is free.
  package func checkRoom(for path: String) throws(CheckpointError) {
    let url = URL(fileURLWithPath: path).deletingLastPathComponent()
    // Headers and the index take less than a megabyte for every thousand tensors.
    let needed = byteCount + (1 << 20) * (1 + tensorCount / 1000)
    guard let free = FileSystem.freeBytes(in: url.path), free < needed else { return }
    let (wanted, left) = (Double(needed) / 1e9, Double(free) / 1e9)
    throw .unwritable(
      path: path,
      reason: String(format: "it takes %.1f GB and the disk has %.1f GB left", wanted, left))
  }

  /// Writes every file into a folder that exists.
  ///
  /// - Throws: ``CheckpointError/unwritable(path:reason:)``, or what `progress` throws.
  package func write(
    to folder: String, team: ThreadTeam, progress: (LoadingProgress) throws -> Void
  ) throws {
    try write(text: configuration, to: folder + "/config.json")
    try write(text: generation, to: folder + "/generation_config.json")
    let writer = try TensorMaker(weights: weights, team: team)
    var done = 0
    for (index, tensors) in shards.enumerated() {
      let file = try SafetensorsWriter(
        path: folder + "/" + fileName(index), tensors: tensors.map(declaration),
        metadata: metadata)
      for tensor in tensors {
        try writer.write(tensor.role, tensor.view, to: file) { bytes in
          done += bytes
          try progress(LoadingProgress(bytesDone: done, bytesTotal: byteCount))
        }
      }
      try file.finish()
    }
    if shards.count > 1 {
      try write(text: index, to: folder + "/model.safetensors.index.json")
    }
  }

  private func declaration(_ tensor: Tensor) -> SafetensorsDeclaration {
    SafetensorsDeclaration(
      name: tensor.view.tensor, type: StoredType(weights.options.dtype),
      shape: tensor.view.storedShape)
  }

  private var metadata: [String: String] {
    // Transformers refuses a file whose metadata does not say which framework wrote it.
    SyntheticModel.metadata(shape: shape, options: weights.options)
      .merging(["format": "pt"]) { $1 }
  }

  private func fileName(_ index: Int) -> String {
    func five(_ number: Int) -> String {
      String(repeating: "0", count: max(5 - String(number).count, 0)) + String(number)
    }
    return shards.count == 1
      ? "model.safetensors" : "model-\(five(index + 1))-of-\(five(shards.count)).safetensors"
  }

  private func write(text: String, to path: String) throws(CheckpointError) {
    let file = try AtomicFile(path: path)
    try Array(text.utf8).withUnsafeBufferPointer { bytes throws(CheckpointError) in
      try file.append(UnsafeRawBufferPointer(bytes))
    }
    try file.commit()
  }
}

extension SyntheticCheckpoint {
  /// `config.json`, as OPT's are.
  private var configuration: String {
    let a = shape.architecture
    return """
      {
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        "activation_function": "relu",
        "attention_dropout": 0.0,
        "bos_token_id": 2,
        "do_layer_norm_before": \(a.blockOrder == .preNorm),
        "dropout": 0.0,
        "enable_bias": true,
        "eos_token_id": 2,
        "ffn_dim": \(a.neurons),
        "hidden_size": \(a.hidden),
        "init_std": 0.02,
        "layer_norm_elementwise_affine": true,
        "layerdrop": 0.0,
        "max_position_embeddings": \(a.context),
        "num_attention_heads": \(a.heads),
        "num_hidden_layers": \(a.layers),
        "pad_token_id": 1,
        "prefix": "</s>",
        "tie_word_embeddings": true,
        "torch_dtype": "\(weights.options.dtype.rawValue)",
        "use_cache": true,
        "vocab_size": \(a.vocabulary),
        "word_embed_proj_dim": \(a.embeddingWidth)
      }

      """
  }

  private var generation: String {
    """
    {
      "bos_token_id": 2,
      "eos_token_id": 2,
      "pad_token_id": 1
    }

    """
  }

  /// Which file holds each tensor; the names need no escapes.
  private var index: String {
    let lines = shards.enumerated().flatMap { index, tensors in
      tensors.map { "    \"\($0.view.tensor)\": \"\(fileName(index))\"" }
    }
    return """
      {
        "metadata": {"total_size": \(byteCount)},
        "weight_map": {
      \(lines.sorted().joined(separator: ",\n"))
        }
      }

      """
  }
}

/// Computes stored tensors piece by piece, by all threads.
private struct TensorMaker {
  private static let pieceCount = 4 << 20

  private let weights: SyntheticWeights
  private let copier: RowCopier
  private let memory: AnonymousMemory

  init(weights: SyntheticWeights, team: ThreadTeam) throws(BackendError) {
    self.weights = weights
    copier = try RowCopier(team: team)
    memory = try AnonymousMemory(count: Self.pieceCount * 4, what: "a piece of a tensor")
  }

  /// Appends the stored tensor that holds the weight of a role.
  ///
  /// `progress` is called after each piece with its bytes; it may throw to give up.
  func write(
    _ role: WeightRole, _ view: TensorView, to file: SafetensorsWriter,
    progress: (Int) throws -> Void
  ) throws {
    let (recipe, dtype) = (weights.recipe(for: role), weights.options.dtype)
    let elements = view.storedShape.reduce(1, *)
    let (rows, columns) = (view.rows, view.columns)
    precondition(
      elements == rows * columns && view.offset == 0, "\(view.tensor) holds more than one weight")
    let isTransposed = view.columnStride != 1
    for start in stride(from: 0, to: elements, by: Self.pieceCount) {
      let count = min(Self.pieceCount, elements - start)
      // Kernels convert whole vectors; there is room behind the last element.
      copier.fill(memory.base, dtype: dtype, count: (count + 31) / 32 * 32) { first, values in
        guard isTransposed else { return recipe.fill(values, first: start + first) }
        for i in values.indices {
          let (column, row) = (start + first + i).quotientAndRemainder(dividingBy: rows)
          values[i] = recipe.value(at: row * columns + column)
        }
      }
      try file.append(
        UnsafeRawBufferPointer(start: memory.base, count: count * dtype.size), to: view.tensor)
      try progress(count * dtype.size)
    }
  }
}
