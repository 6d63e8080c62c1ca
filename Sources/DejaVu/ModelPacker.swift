package import DejaVuCPU
package import DejaVuCore
package import DejaVuFormats

/// Copies a checkpoint into the engine's layout, tensor by tensor, by all threads.
///
/// Each source range is dropped once it is copied, so that resident memory stays at one copy of
/// the weights.
package struct ModelPacker {
  private let checkpoint: Checkpoint
  private let layout: PackedLayout
  private let copier: RowCopier
  private let codes: CodePacker
  private let memory: AnonymousMemory

  /// - Throws: ``BackendError`` when there is no memory for the packed weights.
  package static func pack(
    _ checkpoint: Checkpoint, team: ThreadTeam,
    progress: (LoadingProgress) -> Void = { _ in }
  ) throws(BackendError) -> (model: PackedModel, layout: PackedLayout) {
    let layout = layout(of: checkpoint)
    let memory = try AnonymousMemory(count: layout.byteCount, what: "the weights")
    let packer = ModelPacker(
      checkpoint: checkpoint, layout: layout, copier: try RowCopier(team: team),
      codes: CodePacker(checkpoint: checkpoint, team: team), memory: memory)
    var done = 0
    for entry in layout.entries {
      packer.fill(entry)
      done += entry.byteCount
      progress(LoadingProgress(bytesDone: done, bytesTotal: layout.byteCount))
    }
    return (layout.model(owner: memory) { UnsafeRawPointer(memory.base + $0.offset) }, layout)
  }

  /// The tensors that packing a checkpoint fills.
  package static func layout(of checkpoint: Checkpoint) -> PackedLayout {
    PackedLayout(architecture: checkpoint.architecture, types: types(of: checkpoint))
  }

  /// Matrices that kernels read together share a type: that of their codes, or the checkpoint's, or
  /// float32 if mixed.
  private static func types(of checkpoint: Checkpoint) -> PackedLayout.Types {
    func common(_ roles: [WeightRole]) -> WeightFormat {
      if let tensor = roles.lazy.compactMap({ checkpoint.codes[$0] }).first {
        return .groupwise(tensor.format)
      }
      let types = Set(roles.compactMap { dtype(of: $0, in: checkpoint) })
      return .plain(types.count == 1 ? types.first ?? .float32 : .float32)
    }
    let layers = checkpoint.architecture.layers
    var types = PackedLayout.Types(uniform: .float32, layers: layers)
    types.embedding = common([.tokenEmbedding])
    types.positions = common([.positionEmbedding])
    types.projections = common([.projectIn, .projectOut])
    types.head = common([.head])
    types.attention = (0..<layers).map { layer in
      common([.query, .key, .value, .output].map { .layer(layer, $0) })
    }
    types.mlp = (0..<layers).map { layer in
      common([.gate, .up, .down].map { .layer(layer, $0) })
    }
    types.outputScales = (0..<layers).map { checkpoint.codes[.layer($0, .output)]?.scaleRows }
    types.downScales = (0..<layers).map { checkpoint.codes[.layer($0, .down)]?.scaleRows }
    return types
  }

  private static func dtype(of role: WeightRole, in checkpoint: Checkpoint) -> DType? {
    checkpoint.views[role].flatMap { checkpoint.tensors[$0.tensor]?.dtype }
  }

  private func fill(_ entry: PackedLayout.Entry) {
    let target = memory.base + entry.offset
    guard entry.format.dtype != nil else { return codes.fill(entry, at: target) }
    let width = entry.shape[entry.shape.count - 1] * entry.dtype.size
    let roles = entry.roles
    for (kind, role) in roles.enumerated() {
      // A vector's view has one element per row.
      let stride = entry.shape.count == 1 ? entry.dtype.size : width * roles.count
      copy(role, to: target + kind * width, stride: stride, dtype: entry.dtype)
    }
  }

  private func copy(
    _ role: WeightRole, to target: UnsafeMutableRawPointer, stride: Int, dtype: DType
  ) {
    guard let view = checkpoint.views[role], let tensor = checkpoint.tensors[view.tensor],
      let type = tensor.dtype, let base = tensor.bytes.baseAddress
    else { return }
    let source = RowCopier.Source(
      base: base + view.offset * type.size, dtype: type, blockRows: view.blockRows,
      blockStride: view.blockStride, rowStride: view.rowStride, columnStride: view.columnStride)
    copier.copy(
      source, rows: view.rows, columns: view.columns, to: target, stride: stride, dtype: dtype)
    tensor.file.discard(tensor.range)
  }
}
