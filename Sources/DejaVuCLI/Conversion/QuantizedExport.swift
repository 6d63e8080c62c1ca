import DejaVuFormats
import DejaVuQuantization

/// A quantized model on its way to a folder: floats of the checkpoint as they are, then codes.
struct QuantizedExport {
  private let checkpoint: Checkpoint
  private let plain: [TensorEntry]
  private var file: ShardedFile
  let tensorCount: Int
  var fileCount: Int { file.fileCount }
  var byteCount: Int { file.byteCount }

  /// - Throws: ``CheckpointError`` for a tensor that safetensors cannot hold.
  init(
    _ checkpoint: Checkpoint, quantizer: ModelQuantizer, metadata: [String: String],
    folder: NewFolder, shardBytes: Int
  ) {
    let matrices = quantizer.matrices
    let roles = Set(matrices.map(\.role))
    let names = Set(checkpoint.views.filter { !roles.contains($0.key) }.map(\.value.tensor))
    plain = names.sorted().compactMap { checkpoint.tensors[$0] }
    let declarations =
      plain.compactMap { entry in
        entry.dtype.map {
          SafetensorsDeclaration(name: entry.name, type: StoredType($0), shape: entry.shape)
        }
      }
      + matrices.flatMap { role, format, rows, columns in
        QuantizedRows.declarations(
          role.quantizedName ?? "", format: format, rows: rows, columns: columns)
      }
    tensorCount = declarations.count
    self.checkpoint = checkpoint
    file = ShardedFile(
      folder: folder, tensors: declarations, metadata: metadata, shardBytes: shardBytes)
  }

  mutating func writePlain() throws {
    for entry in plain { try file.append(entry.bytes, to: entry.name) }
  }

  mutating func write(_ rows: QuantizedRows, _ role: WeightRole) throws {
    guard let name = role.quantizedName else { return }
    try file.append(rows.scales, to: name + ".scales")
    if !rows.format.isSymmetric { try file.append(rows.zeros, to: name + ".zeros") }
    try file.append(rows.packedCodes, to: name + ".codes")
  }

  mutating func finish() throws { try file.finish() }
}
