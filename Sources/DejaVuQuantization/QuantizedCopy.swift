import DejaVuCore
package import DejaVuFormats

/// What the packed copy of a model in codes holds.
package enum QuantizedCopy {
  /// Key of the text pair that says by which method codes were found.
  package static let methodKey = Checkpoint.quantizationKey

  /// The layout of a model's copy: matrices of blocks, token embedding and head in the formats of the
  /// options, everything else as it is.
  ///
  /// - Parameters:
  ///   - source: of the model, in floats.
  ///   - options: the formats.
  /// - Returns: a layout with the same tensors.
  package static func layout(
    of source: PackedLayout, options: QuantizationOptions
  ) -> PackedLayout {
    let (a, blocks) = (source.architecture, WeightFormat.groupwise(options.blocks))
    func format(_ name: String, _ wanted: GroupwiseFormat? = nil) -> WeightFormat {
      wanted.map { .groupwise($0) } ?? source.entry(name)?.format ?? .plain(.float32)
    }
    var types = PackedLayout.Types(uniform: blocks, layers: a.layers)
    types.embedding = format("embed.tokens", a.tiesHead ? options.head : options.embedding)
    types.positions = format("embed.positions")
    types.projections = format("project.in")
    types.head = format("head", options.head)
    return PackedLayout(architecture: a, types: types)
  }

  /// The text pairs of the copy's files: those of the source, its fingerprint and the method.
  ///
  /// - Parameters:
  ///   - source: the pairs of the source.
  ///   - fingerprint: of the source, so that predictors trained for it fit the copy.
  ///   - options: of the copy.
  /// - Returns: pairs for every file of the copy.
  package static func metadata(
    of source: [String: String], fingerprint: String, options: QuantizationOptions
  ) -> [String: String] {
    var pairs = source.filter { $0.key.hasPrefix("dejavu.") }
    pairs["dejavu.fingerprint"] = fingerprint
    pairs[methodKey] = options.method.rawValue
    return pairs
  }
}
