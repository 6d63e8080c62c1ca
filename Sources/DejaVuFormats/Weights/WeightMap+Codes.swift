package import DejaVuCore

extension WeightMap {
  /// The weights that a checkpoint stores as codes.
  ///
  /// Matrices that kernels read together must all be codes or all be numbers; embeddings and the head
  /// are numbers.
  ///
  /// - Parameters:
  ///   - architecture: whose weights.
  ///   - published: what the configuration says about codes.
  ///   - tensors: of the checkpoint, by name.
  /// - Returns: where each of them lies; matrices that are numbers are left out.
  /// - Throws: ``CheckpointError`` naming the tensor.
  package static func codes(
    for architecture: Architecture, _ published: PublishedCodes, tensors: [String: TensorEntry]
  ) throws(CheckpointError) -> [WeightRole: CodedTensor] {
    let plan = try plan(architecture, tensors)
    var codes: [WeightRole: CodedTensor] = [:]
    var biases: Set<String> = []
    for (role, view) in plan.views {
      guard view.tensor.hasSuffix(".weight"), view.storedShape.count == 2 else {
        biases.insert(view.tensor)
        continue
      }
      guard case .layer = role else {
        try checkIsPlain(view, tensors)
        continue
      }
      codes[role] = try CodedTensor.find(view, published, in: tensors)
    }
    try checkNeighbours(architecture, codes, plan)
    for tensor in codes.values { try checkBias(of: tensor, tensors, wanted: biases) }
    return codes
  }

  private static func checkIsPlain(
    _ view: TensorView, _ tensors: [String: TensorEntry]
  ) throws(CheckpointError) {
    let name = String(view.tensor.dropLast("weight".count)) + "qweight"
    guard let entry = tensors[name] else { return }
    throw .unsupported(
      file: entry.file.path,
      reason: "tensor '\(name)' holds codes, and this version reads codes of attention and MLP "
        + "only; use a copy whose embeddings and head are numbers")
  }

  private static func checkNeighbours(
    _ architecture: Architecture, _ codes: [WeightRole: CodedTensor], _ plan: WeightPlan
  ) throws(CheckpointError) {
    let mlp: [WeightRole.LayerRole] = architecture.isGated ? [.gate, .up, .down] : [.up, .down]
    for layer in 0..<architecture.layers {
      for roles in [[.query, .key, .value, .output], mlp] {
        let roles = roles.map { WeightRole.layer(layer, $0) }
        guard let coded = roles.lazy.compactMap({ codes[$0] }).first,
          let other = roles.first(where: { codes[$0] == nil }),
          let view = plan.views.first(where: { $0.role == other })?.view
        else { continue }
        throw .unsupported(
          file: coded.entries[0].file.path,
          reason: "'\(coded.name)' is stored as codes and '\(view.tensor)' beside it is not; "
            + "matrices of one attention or MLP block are read together")
      }
    }
  }

  /// Some writers give every layer a bias of zeros; one that is not zero has a place or is refused.
  private static func checkBias(
    of tensor: CodedTensor, _ tensors: [String: TensorEntry], wanted: Set<String>
  ) throws(CheckpointError) {
    let name = "\(tensor.name).bias"
    guard !wanted.contains(name), let entry = tensors[name] else { return }
    let count = entry.dtype.map { entry.range.count / $0.size } ?? 0
    guard entry.dtype == nil || (0..<count).contains(where: { element($0, in: entry) != 0 }) else {
      return
    }
    throw .invalidTensor(
      file: entry.file.path, name: name,
      reason: "it is not zero, and config.json implies no bias there")
  }
}
