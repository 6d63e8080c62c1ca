/// A safetensors file, mapped; its tensors are read in place.
public struct SafetensorsFile: Sendable {
  /// The whole file; the entries point into it.
  public let file: MappedFile
  /// In the order in which they lie in the file.
  public let entries: [TensorEntry]
  /// Text pairs of the header's `__metadata__`; empty where there are none.
  public let metadata: [String: String]

  /// Maps `path` and checks its header against the file.
  ///
  /// - Throws: ``CheckpointError`` when the file cannot be read, or its header is damaged, lies
  ///   about the data, or exceeds the caps of ``SafetensorsHeader``.
  public init(path: String) throws(CheckpointError) {
    let file = try MappedFile(path: path)
    let header = try file.withBytes { bytes throws(CheckpointError) in
      try SafetensorsHeader(reading: bytes, file: path)
    }
    entries = header.tensors.map { tensor in
      // Cannot overflow: the header checked that every range ends inside the file.
      let start = header.dataStart + tensor.range.lowerBound
      return TensorEntry(
        name: tensor.name, dtype: tensor.type.dtype, storedType: tensor.type.rawValue,
        shape: tensor.shape, file: file, range: start..<start + tensor.range.count)
    }
    metadata = header.metadata
    self.file = file
  }
}
