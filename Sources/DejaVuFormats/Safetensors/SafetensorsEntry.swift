import DejaVuJSON

/// One member of a safetensors header on its way to becoming a tensor.
struct SafetensorsEntry {
  let name: String
  let value: JSON
  let file: String

  init(_ member: JSONMember, file: String) throws(CheckpointError) {
    name = member.key.text
    value = member.value
    self.file = file
    let limit = SafetensorsHeader.maximumNameBytes
    guard member.key.bytes.count <= limit else {
      throw invalid("its name has \(member.key.bytes.count) bytes; at most \(limit) are allowed")
    }
    guard !member.key.bytes.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
      throw invalid("its name contains control characters")
    }
  }

  func tensor() throws(CheckpointError) -> SafetensorsHeader.Tensor {
    guard value.members != nil else { throw invalid("its entry is \(value.kind), not an object") }
    let type = try type()
    let shape = try shape()
    let range = try range()
    guard let bytes = type.byteCount(shape: shape) else {
      throw invalid(
        "\(shape) elements of \(type.rawValue) overflow or do not fill whole bytes")
    }
    guard range.count == bytes else {
      throw invalid(
        "its data is \(range.count) bytes but \(shape) of \(type.rawValue) takes \(bytes)")
    }
    return SafetensorsHeader.Tensor(name: name, type: type, shape: shape, range: range)
  }

  private func invalid(_ reason: String) -> CheckpointError {
    .invalidTensor(file: file, name: name, reason: reason)
  }

  private func field(_ key: String) throws(CheckpointError) -> JSON {
    guard let field = value[key] else { throw invalid("'\(key)' is missing") }
    return field
  }

  private func type() throws(CheckpointError) -> StoredType {
    let field = try field("dtype")
    guard let text = field.text else { throw invalid("'dtype' is \(field.kind), not a string") }
    guard let type = StoredType(rawValue: text) else {
      throw invalid("element type '\(escaped(text))' is unknown")
    }
    return type
  }

  private func shape() throws(CheckpointError) -> [Int] {
    let extents = try integers("shape")
    guard extents.count <= SafetensorsHeader.maximumRank else {
      throw invalid(
        "it has \(extents.count) dimensions; at most \(SafetensorsHeader.maximumRank) are allowed")
    }
    return extents
  }

  private func range() throws(CheckpointError) -> Range<Int> {
    let offsets = try integers("data_offsets")
    guard offsets.count == 2 else {
      throw invalid("'data_offsets' holds \(offsets.count) numbers, not 2")
    }
    guard offsets[0] <= offsets[1] else {
      throw invalid("its data ends at \(offsets[1]), before it starts at \(offsets[0])")
    }
    return offsets[0]..<offsets[1]
  }

  /// An array of numbers from 0 to 2^48, spelled as plain integers.
  private func integers(_ key: String) throws(CheckpointError) -> [Int] {
    let field = try field(key)
    guard let elements = field.elements else {
      throw invalid("'\(key)' is \(field.kind), not an array")
    }
    var integers: [Int] = []
    for element in elements {
      guard case .number(let number) = element else {
        throw invalid("'\(key)' contains \(element.kind), not a number")
      }
      guard !number.spelling.hasPrefix("-"), let integer = number.integer,
        integer <= SafetensorsHeader.maximumExtent
      else {
        throw invalid(
          "'\(key)' contains \(escaped(number.spelling)), not an integer from 0 to 2^48")
      }
      integers.append(integer)
    }
    return integers
  }
}
