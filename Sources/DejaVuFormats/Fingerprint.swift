public import DejaVuCore

/// A short name for a model's architecture and weights together.
///
/// Predictors carry the fingerprint of the model that they were trained on, so that they are not
/// used with another. It is made to catch mistakes: it reads samples of each tensor, so someone
/// who wants two different models to share a fingerprint can do that.
public enum Fingerprint {
  /// Blocks read of each tensor, and their size in bytes.
  private static let blocks = 16
  private static let blockBytes = 4096

  /// The fingerprint, 64 hexadecimal digits; the same however the tensors are split over files.
  ///
  /// - Parameters:
  ///   - architecture: every field of it counts.
  ///   - tensors: the model's weights in any order; extras that loading ignores should not be among
  ///     them.
  /// - Returns: lower-case digits of a SHA-256.
  /// - Complexity: reads at most 64 KiB of each tensor.
  public static func of(_ architecture: Architecture, tensors: some Sequence<TensorEntry>) -> String
  {
    var digest = SHA256()
    digest.update(canonicalText(architecture).utf8)
    let sorted = tensors.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    for entry in sorted {
      // The name's length keeps one entry's text from reading as another's.
      let shape = entry.shape.map(String.init).joined(separator: ",")
      let title = "\(entry.name.utf8.count) \(entry.name) \(entry.storedType) [\(shape)]\n"
      digest.update(title.utf8)
      entry.withBytes { bytes in
        for range in sampledRanges(bytes.count) {
          digest.update(UnsafeRawBufferPointer(rebasing: bytes[range]))
        }
      }
    }
    return digest.hexDigest()
  }

  /// Evenly spread blocks, the first and the last of `count` bytes among them; all bytes of a
  /// small tensor.
  private static func sampledRanges(_ count: Int) -> [Range<Int>] {
    guard count > blocks * blockBytes else { return [0..<count] }
    // At most 2^48 bytes times 15: no overflow.
    return (0..<blocks).map { index in
      let start = (count - blockBytes) * index / (blocks - 1)
      return start..<start + blockBytes
    }
  }

  /// Every field of the architecture in a fixed order and spelling.
  static func canonicalText(_ architecture: Architecture) -> String {
    let a = architecture
    let norm = a.normalization
    return """
      family \(a.family)
      layers \(a.layers) hidden \(a.hidden) heads \(a.heads) kvHeads \(a.kvHeads)
      headWidth \(a.headWidth) neurons \(a.neurons) vocabulary \(a.vocabulary)
      embeddingWidth \(a.embeddingWidth) context \(a.context)
      norm \(norm.kind.rawValue) \(norm.epsilon.bitPattern) \(norm.hasWeight) \(norm.hasBias)
      order \(a.blockOrder.rawValue) final \(a.hasFinalNorm) embedding \(a.hasEmbeddingNorm)
      activation \(a.activation.rawValue) gated \(a.isGated)
      positions \(canonicalText(a.positions))
      biases \(a.biases.queryKeyValue) \(a.biases.attentionOutput) \(a.biases.mlp)
      tied \(a.tiesHead) window \(a.slidingWindow ?? 0)

      """
  }

  private static func canonicalText(_ positions: Positions) -> String {
    switch positions {
    case .learned(let offset): "learned \(offset)"
    case .alibi: "alibi"
    case .rotary(let rotary):
      "rotary \(rotary.theta.bitPattern) \(rotary.width) \(canonicalText(rotary.scaling))"
    }
  }

  private static func canonicalText(_ scaling: Rotary.Scaling) -> String {
    switch scaling {
    case .none: "none"
    case .linear(let factor): "linear \(factor.bitPattern)"
    case .llama3(let factor, let low, let high, let original):
      "llama3 \(factor.bitPattern) \(low.bitPattern) \(high.bitPattern) \(original)"
    }
  }
}

extension Checkpoint {
  /// The fingerprint of the weights that the model uses.
  public var fingerprint: String {
    let used = Set(views.values.map { $0.tensor })
    let coded = codes.values.flatMap(\.entries)
    return Fingerprint.of(architecture, tensors: used.compactMap { tensors[$0] } + coded)
  }
}
