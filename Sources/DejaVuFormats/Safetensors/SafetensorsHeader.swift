import DejaVuJSON

/// The part of a safetensors file that says which tensors follow, parsed and distrusted.
///
/// Everything a hostile header could say is checked before a tensor is handed out: caps on size
/// and count, overflow of shapes, and that the tensors tile the rest of the file exactly: no
/// overlap, hole or trailing byte.
package struct SafetensorsHeader: Sendable {
  /// One tensor; `range` counts from the first byte after the header.
  package struct Tensor: Sendable {
    package let name: String
    package let type: StoredType
    package let shape: [Int]
    package let range: Range<Int>
  }

  /// Most bytes of header that the format allows.
  package static let maximumBytes = 100_000_000
  /// Ours: thirty times the tensors of the largest dense models.
  ///
  /// With the bound on values that follows from it, the worst header costs about a second and four
  /// times its own size.
  package static let maximumTensors = 1 << 16
  /// Ours: nothing that a language model stores has more axes.
  package static let maximumRank = 8
  /// The greatest extent and offset that the format's schema allows.
  package static let maximumExtent = 1 << 48
  /// Ours, in UTF-8.
  package static let maximumNameBytes = 1024

  /// In the order in which they lie in the file.
  package let tensors: [Tensor]
  /// The header's own text pairs; of keys that only differ in Unicode form, the last.
  package let metadata: [String: String]
  /// Position in the file of the first byte of data.
  package let dataStart: Int

  /// Parses the start of a file.
  ///
  /// - Parameters:
  ///   - bytes: the whole file.
  ///   - file: its name, for messages.
  /// - Throws: ``CheckpointError/malformed(file:reason:)`` for the structure,
  ///   ``CheckpointError/invalidTensor(file:name:reason:)`` for one entry.
  /// - Complexity: linear in the header but for sorting the entries.
  package init(reading bytes: UnsafeRawBufferPointer, file: String) throws(CheckpointError) {
    dataStart = try Self.end(of: bytes, file: file)
    let members = try Self.members(UnsafeRawBufferPointer(rebasing: bytes[8..<dataStart]), file)
    let metadataKey: ByteString = "__metadata__"
    var metadata: [String: String] = [:]
    var tensors: [Tensor] = []
    for member in members {
      if member.key == metadataKey {
        metadata = try Self.metadata(member.value, file)
        continue
      }
      guard tensors.count < Self.maximumTensors else {
        throw .malformed(file: file, reason: "more than \(Self.maximumTensors) tensors")
      }
      tensors.append(try SafetensorsEntry(member, file: file).tensor())
    }
    tensors.sort {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    try Self.checkTiling(tensors, dataBytes: bytes.count - dataStart, file: file)
    self.tensors = tensors
    self.metadata = metadata
  }

  /// Position of the first byte after the header.
  private static func end(
    of bytes: UnsafeRawBufferPointer, file: String
  ) throws(CheckpointError) -> Int {
    guard bytes.count >= 8 else {
      throw .malformed(
        file: file,
        reason: "\(bytes.count) bytes are shorter than the header length field of 8 bytes")
    }
    let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard length <= UInt64(maximumBytes) else {
      throw .malformed(
        file: file, reason: "header length \(length) is above the limit of \(maximumBytes) bytes")
    }
    // Cannot overflow: the length was just bounded.
    let end = 8 + Int(length)
    guard end <= bytes.count else {
      throw .malformed(
        file: file,
        reason: "header of \(length) bytes passes the end of the file at byte \(bytes.count)")
    }
    return end
  }

  private static func members(
    _ text: UnsafeRawBufferPointer, _ file: String
  ) throws(CheckpointError) -> [JSONMember] {
    let header: JSON
    do throws(JSONError) {
      header = try JSON.parse(text, limits: JSONLimits(depth: 16, values: maximumTensors * 12))
    } catch {
      // The offset of the message counts from the start of the file.
      let offset = 8 + error.byteOffset
      throw .malformed(file: file, reason: "header: \(error.reason) at byte \(offset)")
    }
    guard let members = header.members else {
      throw .malformed(file: file, reason: "header is \(header.kind), not an object")
    }
    return members
  }

  private static func metadata(
    _ value: JSON, _ file: String
  ) throws(CheckpointError) -> [String: String] {
    guard let members = value.members else {
      throw .malformed(file: file, reason: "__metadata__ is \(value.kind), not an object")
    }
    var metadata: [String: String] = [:]
    for member in members {
      guard let text = member.value.text else {
        throw .malformed(
          file: file,
          reason: "__metadata__ '\(member.key.text)' is \(member.value.kind), not a string")
      }
      metadata[member.key.text] = text
    }
    return metadata
  }

  /// Checks that `tensors`, sorted by offset, cover the data exactly once.
  private static func checkTiling(
    _ tensors: [Tensor], dataBytes: Int, file: String
  ) throws(CheckpointError) {
    var end = 0
    for tensor in tensors {
      let start = tensor.range.lowerBound
      guard start == end else {
        let fault = start < end ? "overlaps the tensor before it" : "leaves a hole before it"
        throw .invalidTensor(
          file: file, name: tensor.name,
          reason: "it \(fault): data starts at \(start) where \(end) was expected")
      }
      end = tensor.range.upperBound
      guard end <= dataBytes else {
        throw .invalidTensor(
          file: file, name: tensor.name,
          reason: "its data ends at \(end) but the file holds \(dataBytes) bytes of data")
      }
    }
    guard end == dataBytes else {
      throw .malformed(
        file: file, reason: "\(dataBytes - end) bytes follow the last tensor's data")
    }
  }
}
