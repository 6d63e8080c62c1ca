/// Everything about a model that is not a weight: the choices that make it OPT, Llama or GPT-2.
///
/// Families are data. The decoder reads this table and has no branch on a family's name.
public struct Architecture: Hashable, Sendable {
  /// `model_type` of `config.json`: names how files lay out the weights; no computation reads it.
  public var family: String
  /// L, the number of blocks.
  public var layers: Int
  /// D, the width of the residual stream.
  public var hidden: Int
  /// H, the number of query heads.
  public var heads: Int
  /// K, the number of key and value heads; divides `heads`.
  public var kvHeads: Int
  /// h, the width of one head.
  public var headWidth: Int
  /// F, the number of MLP neurons.
  public var neurons: Int
  /// V, the number of token ids, that is the width of the logits.
  public var vocabulary: Int
  /// Width of a token embedding; differs from `hidden` in OPT-350M, which then projects in and out.
  public var embeddingWidth: Int
  /// The greatest number of positions that the model was made for.
  public var context: Int

  /// What all norms of the model compute.
  public var normalization: Normalization
  /// Where norms stand in a block, and which input its two halves read.
  public var blockOrder: BlockOrder
  /// Whether a norm follows the last block.
  public var hasFinalNorm: Bool
  /// Whether a norm follows the token embedding (BLOOM).
  public var hasEmbeddingNorm: Bool
  /// σ of the MLP: of the gate where there is one, else of the up projection.
  public var activation: Activation
  /// Whether a neuron has a gate row: `act(gate) * up`.
  public var isGated: Bool
  /// How positions enter: with the embedding, by rotation, or as a bias on scores.
  public var positions: Positions
  /// Which projections of a block add a bias.
  public var biases: Biases
  /// Whether the head reuses the token embedding.
  public var tiesHead: Bool
  /// Attention sees this many last positions only (Mistral); nil means all.
  public var slidingWindow: Int?

  /// Takes sizes as they are: whoever reads them from a file checks that they fit each other.
  public init(
    family: String, layers: Int, hidden: Int, heads: Int, kvHeads: Int, headWidth: Int,
    neurons: Int, vocabulary: Int, embeddingWidth: Int, context: Int,
    normalization: Normalization, blockOrder: BlockOrder, hasFinalNorm: Bool,
    hasEmbeddingNorm: Bool, activation: Activation, isGated: Bool, positions: Positions,
    biases: Biases, tiesHead: Bool, slidingWindow: Int?
  ) {
    self.family = family
    self.layers = layers
    self.hidden = hidden
    self.heads = heads
    self.kvHeads = kvHeads
    self.headWidth = headWidth
    self.neurons = neurons
    self.vocabulary = vocabulary
    self.embeddingWidth = embeddingWidth
    self.context = context
    self.normalization = normalization
    self.blockOrder = blockOrder
    self.hasFinalNorm = hasFinalNorm
    self.hasEmbeddingNorm = hasEmbeddingNorm
    self.activation = activation
    self.isGated = isGated
    self.positions = positions
    self.biases = biases
    self.tiesHead = tiesHead
    self.slidingWindow = slidingWindow
  }

  /// Query heads per key/value group: the unit of head sparsity is the group.
  public var headsPerGroup: Int { heads / kvHeads }
  /// Whether the embedding is narrower than the stream and is projected in and out.
  public var projectsEmbedding: Bool { embeddingWidth != hidden }
  /// Weight rows of one neuron: up and down, or gate, up and down.
  public var rowsPerNeuron: Int { isGated ? 3 : 2 }
}

/// How a stream is normalised before a block reads it.
public struct Normalization: Hashable, Sendable {
  /// What is taken from a vector before it is scaled.
  public enum Kind: String, Hashable, Sendable {
    /// (x − mean) / √(variance + ε)
    case layer
    /// x / √(mean(x²) + ε)
    case rootMeanSquare
  }
  /// Whether the mean is subtracted.
  public var kind: Kind
  /// ε, added to the variance or the mean square; positive.
  public var epsilon: Float
  /// Whether norms have learned weights; without, they only normalise.
  public var hasWeight: Bool
  /// Whether norms add a learned bias.
  public var hasBias: Bool

  /// A norm whose learned weights are there unless said otherwise.
  public init(kind: Kind, epsilon: Float, hasWeight: Bool = true, hasBias: Bool) {
    self.kind = kind
    self.epsilon = epsilon
    self.hasWeight = hasWeight
    self.hasBias = hasBias
  }
}

/// Where norms and residuals stand around the two halves of a block.
public enum BlockOrder: String, Hashable, Sendable {
  /// x ← x + attention(norm(x)); x ← x + mlp(norm(x))
  case preNorm
  /// x ← norm(x + attention(x)); x ← norm(x + mlp(x)) (OPT-350M)
  case postNorm
  /// x ← x + attention(norm₁(x)) + mlp(norm₂(x)) (GPT-NeoX)
  case parallel
}

/// σ of the MLP; only `relu` makes exact zeros, whose rows need not be read.
public enum Activation: String, Hashable, Sendable {
  /// max(x, 0).
  case relu
  /// x · Φ(x), by the error function.
  case gelu
  /// The tanh approximation of GELU (GPT-2's `gelu_new`, BLOOM).
  case geluTanh
  /// x / (1 + e^−x).
  case silu
}

/// How a token learns where it stands.
public enum Positions: Hashable, Sendable {
  /// A table of vectors; row `position + offset` belongs to `position` (OPT: offset 2).
  case learned(offset: Int)
  /// Queries and keys turn by an angle that grows with the position.
  case rotary(Rotary)
  /// A bias on attention scores that falls with distance (BLOOM).
  case alibi
}

/// Rotary embedding: lanes i and i + width/2 of a head turn by position · frequency(i).
public struct Rotary: Hashable, Sendable {
  /// θ, the base of the frequencies: θ^(−2i / width) before scaling.
  public var theta: Double
  /// Lanes of each head that rotate; the rest pass through.
  public var width: Int
  /// What stretches the frequencies to a longer context.
  public var scaling: Scaling

  /// How frequencies are changed for a context longer than that of the first training.
  public enum Scaling: Hashable, Sendable {
    /// Frequencies stay as they are.
    case none
    /// Every frequency is divided by `factor`.
    case linear(factor: Double)
    /// Low frequencies are divided by `factor`, high ones stay, those between are blended.
    ///
    /// Low and high are turns within `original` positions: below `lowFrequency`, above
    /// `highFrequency`.
    case llama3(factor: Double, lowFrequency: Double, highFrequency: Double, original: Int)
  }

  /// Rotation of the first `width` lanes of a head; `width` is even.
  public init(theta: Double, width: Int, scaling: Scaling = .none) {
    self.theta = theta
    self.width = width
    self.scaling = scaling
  }
}

/// Which matrices come with a bias.
public struct Biases: Hashable, Sendable {
  /// Whether W_Q, W_K and W_V add one.
  public var queryKeyValue: Bool
  /// Whether W_O adds one.
  public var attentionOutput: Bool
  /// Whether gate, up and down projection add one.
  public var mlp: Bool

  /// Biases by the projections that add them.
  public init(queryKeyValue: Bool, attentionOutput: Bool, mlp: Bool) {
    self.queryKeyValue = queryKeyValue
    self.attentionOutput = attentionOutput
    self.mlp = mlp
  }
}
