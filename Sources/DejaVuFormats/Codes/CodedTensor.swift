package import DejaVuCore

/// A linear layer of a checkpoint as codes: several stored tensors that are one matrix.
///
/// - Invariant: the tensors are there, of the type and the shape that the layout implies, and groups
///   lie along the inputs in their order.
public struct CodedTensor: Sendable {
  /// What stands before `.qweight`.
  public let name: String
  /// How the tensors are to be read.
  public let codes: PublishedCodes
  /// Extents of the matrix that the codes stand for.
  public let inputs: Int
  /// Extents of the matrix that the codes stand for.
  public let outputs: Int
  /// Whether the engine's rows are the inputs (W_O and W2), so that rows share scales.
  public let rowsAreInputs: Bool
  let qweight: TensorEntry
  let qzeros: TensorEntry
  let scales: TensorEntry

  /// Inputs that share a scale.
  public var group: Int { codes.group ?? inputs }
  var groups: Int { inputs / group }
  /// The tensors whose bytes are the matrix.
  public var entries: [TensorEntry] { [qweight, qzeros, scales] }
  /// Bytes of the matrix in the checkpoint.
  public var byteCount: Int { entries.reduce(0) { $0 + $1.range.count } }

  /// How the engine stores the codes: groups wider than a block are repeated for each block.
  ///
  /// Bits and groups were checked when the configuration was read.
  package var format: GroupwiseFormat {
    let group = [32, 64].contains(group) ? group : 128
    guard let format = GroupwiseFormat(bits: codes.bits, group: group, hasZeros: true) else {
      preconditionFailure("no format has codes of \(codes.bits) bits")
    }
    return format
  }

  /// How the engine stores the scales where rows share them.
  package var scaleRows: ScaleRowFormat? {
    rowsAreInputs ? ScaleRowFormat(rows: group, bits: codes.bits) : nil
  }
}

extension CodedTensor {
  /// Finds a linear layer among a checkpoint's tensors.
  ///
  /// - Parameters:
  ///   - view: how the engine's matrix would lie in the float tensor, whose name ends in `.weight`.
  ///   - published: what the configuration says about codes.
  ///   - tensors: by name.
  /// - Returns: the layer; nil where it is not stored as codes.
  /// - Throws: ``CheckpointError`` naming the tensor, both sides and what to do.
  static func find(
    _ view: TensorView, _ published: PublishedCodes, in tensors: [String: TensorEntry]
  ) throws(CheckpointError) -> CodedTensor? {
    let name = String(view.tensor.dropLast(".weight".count))
    let parts = ["qweight", "qzeros", "scales"].map { "\(name).\($0)" }
    guard let any = parts.lazy.compactMap({ tensors[$0] }).first else { return nil }
    let (outputs, inputs) = (view.storedShape[0], view.storedShape[1])
    try check(name, published, inputs: inputs, outputs: outputs, file: any.file.path)
    var entries: [TensorEntry] = []
    for part in parts {
      guard let entry = tensors[part] else {
        throw .missingTensor(name: part, folder: WeightMap.folder(of: tensors))
      }
      entries.append(entry)
    }
    let tensor = CodedTensor(
      name: name, codes: published, inputs: inputs, outputs: outputs,
      rowsAreInputs: view.columnStride != 1, qweight: entries[0], qzeros: entries[1],
      scales: entries[2])
    try tensor.checkShapes()
    try tensor.checkOrder(tensors["\(name).g_idx"])
    return tensor
  }

  private static func check(
    _ name: String, _ published: PublishedCodes, inputs: Int, outputs: Int, file: String
  ) throws(CheckpointError) {
    let group = published.group ?? inputs
    guard inputs % group == 0 else {
      throw .invalidTensor(
        file: file, name: "\(name).qweight",
        reason: "its \(inputs) inputs are no multiple of group_size \(group) in config.json")
    }
    guard inputs % published.perWord == 0, outputs % published.perWord == 0 else {
      throw .invalidTensor(
        file: file, name: "\(name).qweight",
        reason: "\(inputs) inputs and \(outputs) outputs do not fill words of "
          + "\(published.perWord) codes")
    }
  }

  private func checkShapes() throws(CheckpointError) {
    let packed =
      switch codes.method {
      case .gptq: [inputs / codes.perWord, outputs]
      case .awq: [inputs, outputs / codes.perWord]
      }
    for (entry, shape) in [
      (qweight, packed), (qzeros, [groups, outputs / codes.perWord]), (scales, [groups, outputs]),
    ] {
      guard entry.shape == shape else {
        throw .shapeMismatch(name: entry.name, expected: shape, found: entry.shape)
      }
    }
    for entry in [qweight, qzeros] where entry.storedType != StoredType.int32.rawValue {
      throw .unsupported(
        file: entry.file.path,
        reason: "tensor '\(entry.name)' is stored as \(entry.storedType); "
          + "codes come in words of I32")
    }
    guard scales.dtype != nil else {
      throw .unsupported(
        file: scales.file.path,
        reason: "tensor '\(scales.name)' is stored as \(scales.storedType); "
          + "scales must be F16, BF16 or F32")
    }
  }

  /// Whether input i is of group i / group: what act-order without static groups does not keep.
  private func checkOrder(_ entry: TensorEntry?) throws(CheckpointError) {
    guard let entry else { return }
    guard entry.shape == [inputs] else {
      throw .shapeMismatch(name: entry.name, expected: [inputs], found: entry.shape)
    }
    guard entry.storedType == StoredType.int32.rawValue else {
      throw .unsupported(
        file: entry.file.path,
        reason: "tensor '\(entry.name)' is stored as \(entry.storedType), not as I32")
    }
    let first = entry.withBytes { bytes in
      (0..<inputs).first { input in
        Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 * input, as: Int32.self))
          != Int32(input / group)
      }
    }
    guard let first else { return }
    throw .unsupported(
      file: entry.file.path,
      // Messages end after 256 characters.
      reason: "tensor '\(entry.name)' puts input \(first) outside group \(first / group): "
        + "act-order scatters groups, and rows that may be skipped cannot share such scales; use a copy with "
        + "desc_act false, or 'dejavu quantize' on the full-precision one")
  }
}
