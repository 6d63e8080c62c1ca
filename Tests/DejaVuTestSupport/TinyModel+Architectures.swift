package import DejaVuCore

extension TinyModel {
  /// The choices that make the family, at sizes that are no multiple of any vector.
  package var architecture: Architecture {
    var a = Self.plain
    a.family = rawValue
    switch self {
    case .opt: break
    case .optPostNorm:
      a.blockOrder = .postNorm
      a.hasFinalNorm = false
      a.embeddingWidth = 40
    case .llamaGrouped:
      a = Self.llama(a)
      (a.heads, a.kvHeads, a.headWidth) = (8, 2, 16)
      a.positions = .rotary(
        Rotary(
          theta: 500, width: 16,
          scaling: .llama3(factor: 8, lowFrequency: 1, highFrequency: 4, original: 32)))
    case .llamaReLU:
      a = Self.llama(a)
      a.activation = .relu
      a.biases = Biases(queryKeyValue: true, attentionOutput: false, mlp: true)
    case .gpt2:
      a.positions = .learned(offset: 0)
      a.activation = .geluTanh
    case .neoX:
      a.blockOrder = .parallel
      a.activation = .gelu
      a.positions = .rotary(Rotary(theta: 10000, width: 6))
      a.tiesHead = false
    case .bloom:
      a.positions = .alibi
      (a.heads, a.kvHeads, a.headWidth) = (6, 6, 16)
      a.hasEmbeddingNorm = true
      a.activation = .geluTanh
    case .mistral:
      a = Self.llama(a)
      a.kvHeads = 2
      a.slidingWindow = 9
    case .olmo:
      a = Self.llama(a)
      a.normalization = Normalization(
        kind: .layer, epsilon: 1e-5, hasWeight: false, hasBias: false)
      (a.heads, a.kvHeads, a.headWidth) = (2, 1, 160)
      a.positions = .rotary(Rotary(theta: 10000, width: 160, scaling: .linear(factor: 4)))
    }
    return a
  }

  /// A small OPT.
  private static var plain: Architecture {
    Architecture(
      family: "opt", layers: 3, hidden: 96, heads: 4, kvHeads: 4, headWidth: 24, neurons: 172,
      vocabulary: 319, embeddingWidth: 96, context: 128,
      normalization: Normalization(kind: .layer, epsilon: 1e-5, hasBias: true),
      blockOrder: .preNorm, hasFinalNorm: true, hasEmbeddingNorm: false, activation: .relu,
      isGated: false, positions: .learned(offset: 2),
      biases: Biases(queryKeyValue: true, attentionOutput: true, mlp: true), tiesHead: true,
      slidingWindow: nil)
  }

  private static func llama(_ base: Architecture) -> Architecture {
    var a = base
    a.normalization = Normalization(kind: .rootMeanSquare, epsilon: 1e-6, hasBias: false)
    a.activation = .silu
    a.isGated = true
    a.positions = .rotary(Rotary(theta: 10000, width: a.headWidth))
    a.biases = Biases(queryKeyValue: false, attentionOutput: false, mlp: false)
    a.tiesHead = false
    return a
  }
}
