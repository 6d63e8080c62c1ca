import DejaVuJSON

/// Small JSON files beside the weights: configurations and shard indices.
enum JSONFile {
  /// Reads the object in `path`.
  ///
  /// - Throws: ``CheckpointError/unreadable(path:reason:)`` or
  ///   ``CheckpointError/malformed(file:reason:)`` when it is larger than `maximumBytes`, no
  ///   strict JSON, or not an object.
  static func object(
    at path: String, maximumBytes: Int, limits: JSONLimits
  ) throws(CheckpointError) -> JSON {
    let file = try MappedFile(path: path)
    guard file.bytes.count <= maximumBytes else {
      throw .malformed(
        file: path, reason: "\(file.bytes.count) bytes are above the limit of \(maximumBytes)")
    }
    return try file.withBytes { bytes throws(CheckpointError) in
      try object(in: bytes, file: path, limits: limits)
    }
  }

  static func object(
    in text: some Collection<UInt8>, file: String, limits: JSONLimits
  ) throws(CheckpointError) -> JSON {
    let json: JSON
    do throws(JSONError) {
      json = try JSON.parse(text, limits: limits)
    } catch {
      throw .malformed(file: file, reason: error.description)
    }
    guard json.members != nil else {
      throw .malformed(file: file, reason: "it holds \(json.kind), not an object")
    }
    return json
  }
}
