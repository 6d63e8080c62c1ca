/// Reads `pytorch_model.bin`: a zip archive of a pickled state dict and the storages it names.
///
/// The pickle is read as data, with closed lists of what it may contain; nothing in it is executed.
/// The tensors' bytes stay where they are, in the mapped file.
public enum PickleCheckpointFile {
  /// The tensors of a checkpoint that `torch.save` wrote from a flat state dict, in its order.
  ///
  /// Plain values beside the tensors (numbers, strings, None) are skipped. Several entries may
  /// share bytes, as tied weights do.
  ///
  /// - Parameter path: a file in PyTorch's zip format, which is the default since version 1.6.
  /// - Returns: one entry for each tensor of the state dict, each name once.
  /// - Throws: ``CheckpointError/forbiddenPickle(file:what:)`` for anything outside the closed
  ///   lists, ``CheckpointError/unsupported(file:reason:)`` for an older format, a nested state
  ///   dict, a tensor that is not row-major or a big-endian file, and other cases of
  ///   ``CheckpointError`` for a file that is damaged or not there.
  public static func entries(path: String) throws(CheckpointError) -> [TensorEntry] {
    let file = try MappedFile(path: path)
    // The readers below hold pointers into the mapping.
    defer { withExtendedLifetime(file) {} }
    try ForeignFormat.refuse(file)
    let archive = try ZipArchive(file)
    let prefix = archive.firstName.prefix { $0 != "/" } + "/"
    guard let pickle = archive[prefix + "data.pkl"] else {
      throw .unsupported(
        file: path,
        reason: "it is a zip archive without '\(prefix)data.pkl', so not a PyTorch checkpoint")
    }
    if let order = archive[prefix + "byteorder"], !file.bytes[order].elementsEqual("little".utf8) {
      throw .unsupported(
        file: path,
        reason: "it is not little-endian; load it with PyTorch on the machine that wrote it and "
          + "convert it to safetensors")
    }
    let (root, heap) = try PickleReader.read(file, pickle)
    return try entries(of: root, heap: heap, file: file) { archive[prefix + "data/" + $0] }
  }

  private static func entries(
    of root: PickleValue, heap: PickleHeap, file: MappedFile,
    storageBytes: (String) -> Range<Int>?
  ) throws(CheckpointError) -> [TensorEntry] {
    guard case .dict(let dict) = root else {
      throw .unsupported(
        file: file.path, reason: "it holds \(root.kind), not a state dict (names and tensors)")
    }
    var entries: [TensorEntry] = []
    var names: Set<String> = []
    for (key, value) in heap.dicts[dict].pairs {
      let name = try name(key, file: file)
      // Canonically equivalent names count as equal here, which refuses both.
      guard names.insert(name).inserted else {
        throw .invalidTensor(file: file.path, name: name, reason: "there are two of that name")
      }
      switch value {
      case .tensor(let index):
        let tensor = heap.tensors[index]
        entries.append(
          try tensor.entry(named: name, heap: heap, file: file, storageBytes: storageBytes))
      case .none, .bool, .integer, .real, .text: continue
      case .tuple, .list, .dict, .global, .storage:
        throw .unsupported(
          file: file.path,
          reason: "'\(name)' is \(value.kind), not a tensor; save the model's state dict itself: "
            + "torch.save(model.state_dict(), …)")
      }
    }
    return entries
  }

  private static func name(
    _ key: PickleValue, file: MappedFile
  ) throws(CheckpointError) -> String {
    guard case .text(let range) = key else {
      throw .unsupported(
        file: file.path, reason: "it has \(key.kind) where a tensor's name belongs")
    }
    guard let name = file.text(range), isSaneName(name) else {
      throw .malformed(
        file: file.path,
        reason: "the tensor name at byte \(range.lowerBound) is empty, too long or not plain text")
    }
    return name
  }
}
