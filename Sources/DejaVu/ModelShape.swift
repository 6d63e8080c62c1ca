public import DejaVuCore

/// The published sizes of OPT, for measuring speed without weights.
public struct ModelShape: Hashable, Sendable {
  /// The published name in lower case, such as `opt-6.7b`.
  public let name: String
  /// L, the number of blocks.
  public let layers: Int
  /// D, the width of the residual stream; a quarter of the neurons.
  public let hidden: Int
  /// H, the number of heads, each with its own keys.
  public let heads: Int
  /// Width of a token embedding; OPT-350M's is narrower than its stream.
  public let embeddingWidth: Int

  private init(_ name: String, _ layers: Int, _ hidden: Int, _ heads: Int, embedding: Int? = nil) {
    self.name = name
    self.layers = layers
    self.hidden = hidden
    self.heads = heads
    embeddingWidth = embedding ?? hidden
  }

  /// Every published size, the smallest first.
  public static let all = [
    ModelShape("opt-125m", 12, 768, 12),
    ModelShape("opt-350m", 24, 1024, 16, embedding: 512),
    ModelShape("opt-1.3b", 24, 2048, 32),
    ModelShape("opt-2.7b", 32, 2560, 32),
    ModelShape("opt-6.7b", 32, 4096, 32),
    ModelShape("opt-13b", 40, 5120, 40),
    ModelShape("opt-30b", 48, 7168, 56),
    ModelShape("opt-66b", 64, 9216, 72),
    ModelShape("opt-175b", 96, 12288, 96),
  ]

  /// The shape of that name, spelled as in ``name``; nil when there is none.
  public static func named(_ name: String) -> ModelShape? { all.first { $0.name == name } }

  /// OPT with these sizes; OPT-350M alone is post-norm.
  public var architecture: Architecture {
    Architecture(
      family: "opt", layers: layers, hidden: hidden, heads: heads, kvHeads: heads,
      headWidth: hidden / heads, neurons: 4 * hidden, vocabulary: 50272,
      embeddingWidth: embeddingWidth, context: 2048,
      normalization: Normalization(kind: .layer, epsilon: 1e-5, hasBias: true),
      blockOrder: embeddingWidth == hidden ? .preNorm : .postNorm,
      hasFinalNorm: embeddingWidth == hidden, hasEmbeddingNorm: false, activation: .relu,
      isGated: false, positions: .learned(offset: 2),
      biases: Biases(queryKeyValue: true, attentionOutput: true, mlp: true), tiesHead: true,
      slidingWindow: nil)
  }
}
