/// What `quantization_config` in `config.json` says of a model in our own codes.
package struct QuantizationConfig: Hashable, Sendable {
  /// The word for our layout in `quant_method`.
  package static let name = "dejavu"
  package static let version = 1

  /// How the codes were found, for people.
  package let method: String
  /// Of the matrices of blocks, of the token embedding, and of the head; nil where floats are stored.
  package let blocks: GroupFormat?
  package let embedding: GroupFormat?
  package let head: GroupFormat?

  package init(
    method: String, blocks: GroupFormat?, embedding: GroupFormat?, head: GroupFormat?
  ) {
    self.method = method
    self.blocks = blocks
    self.embedding = embedding
    self.head = head
  }

  /// The format of a weight's codes; nil where it is stored in floats.
  package func format(of role: WeightRole) -> GroupFormat? {
    guard role.quantizedName != nil else { return nil }
    return switch role {
    case .tokenEmbedding: embedding
    case .head: head
    default: blocks
    }
  }

  /// The value of `quantization_config`, one line of JSON.
  package var json: String {
    let parts = [("blocks", blocks), ("embedding", embedding), ("head", head)].compactMap {
      name, format in
      format.map {
        "\"\(name)\": {\"bits\": \($0.bits), \"group_size\": \($0.group), "
          + "\"symmetric\": \($0.isSymmetric)}"
      }
    }
    return "{\"quant_method\": \"\(Self.name)\", \"version\": \(Self.version), "
      + "\"method\": \"\(method)\", " + parts.joined(separator: ", ") + "}"
  }

  /// `config.json` with this in it.
  ///
  /// - Parameter text: a JSON object without the field.
  package func inserted(into text: [UInt8]) -> [UInt8] {
    guard let end = text.lastIndex(of: UInt8(ascii: "}")) else { return text }
    var head = Array(text[..<end])
    while let last = head.last, [0x20, 0x0A, 0x0D, 0x09].contains(last) { head.removeLast() }
    return head + Array(",\n  \"quantization_config\": \(json)\n}\n".utf8)
  }
}
