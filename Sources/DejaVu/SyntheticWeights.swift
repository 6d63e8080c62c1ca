package import DejaVuCore
package import DejaVuFormats
import Foundation

/// The numbers of a synthetic model, each computable alone: the same in memory and on disk.
///
/// Weights are uniform with the variance that keeps streams and logits near one. The up bias is
/// Φ⁻¹ of the density asked for: a normalised stream times such rows is nearly normal with
/// variance one, so that this share of pre-activations is positive.
package struct SyntheticWeights: Sendable {
  package struct Options: Hashable, Sendable {
    package var dtype = DType.float16
    /// What the blocks' matrices are stored in; nil where all are of ``dtype``.
    package var groupwise: GroupwiseFormat?
    /// Bits of embedding and head where blocks are groupwise.
    package var headBits = 8
    package var seed: UInt64 = 1
    /// Share of neurons whose pre-activation is positive, strictly between 0 and 1.
    package var reluDensity = 0.5
    /// "float16", "int4-g64", "int4-g64, head of 6 bits": what weights are stored in.
    package var formatName: String {
      guard let groupwise else { return dtype.rawValue }
      return groupwise.name + (headBits == 8 ? "" : ", head of \(headBits) bits")
    }

    package init() {}
  }

  package let architecture: Architecture
  package let options: Options

  package init(architecture: Architecture, options: Options) {
    precondition(
      options.reluDensity > 0 && options.reluDensity < 1,
      "a density of \(options.reluDensity) is not between 0 and 1")
    self.architecture = architecture
    self.options = options
  }

  /// How the weight of a role is filled: element (r, c) of `[rows, columns]` is number
  /// r · columns + c.
  package func recipe(for role: WeightRole) -> SyntheticRecipe {
    let uniform = Float(12).squareRoot()
    let inputs = uniform / Float(architecture.hidden).squareRoot()
    let depth = 1 / Float(2 * architecture.layers).squareRoot()
    let (constant, spread): (Float, Float) =
      switch role {
      case .embeddingNorm(.weight), .finalNorm(.weight), .layer(_, .attentionNorm(.weight)),
        .layer(_, .mlpNorm(.weight)):
        (1, 0)
      case .layer(_, .upBias), .layer(_, .gateBias):
        (Float(Self.normalQuantile(options.reluDensity)), 0)
      case .embeddingNorm, .finalNorm, .layer(_, .attentionNorm), .layer(_, .mlpNorm),
        .layer(_, .queryBias), .layer(_, .keyBias), .layer(_, .valueBias),
        .layer(_, .outputBias), .layer(_, .downBias):
        (0, 0.01)
      case .layer(_, .output): (0, inputs * depth)
      case .layer(_, .down):
        (0, uniform * depth / Float(architecture.neurons).squareRoot())
      case .projectIn: (0, uniform / Float(architecture.embeddingWidth).squareRoot())
      case .tokenEmbedding, .positionEmbedding, .projectOut, .head,
        .layer(_, .query), .layer(_, .key), .layer(_, .value), .layer(_, .gate), .layer(_, .up):
        (0, inputs)
      }
    return SyntheticRecipe(
      constant: constant, spread: spread, seed: options.seed &* 1_000_003 &+ role.stream)
  }

  /// `value` as a checkpoint of this type stores it; vectors are widened again when packed.
  package func rounded(_ value: Float) -> Float {
    switch options.dtype {
    case .float32: value
    case .float16: HalfPrecision.float(half: HalfPrecision.half(value))
    case .bfloat16: HalfPrecision.float(brain: HalfPrecision.brain(value))
    }
  }

  /// Φ⁻¹ by bisection; `share` strictly between 0 and 1.
  static func normalQuantile(_ share: Double) -> Double {
    var (low, high) = (-8.0, 8.0)
    for _ in 0..<60 {
      let middle = (low + high) / 2
      if 0.5 * erfc(-middle / 2.0.squareRoot()) < share { low = middle } else { high = middle }
    }
    return (low + high) / 2
  }
}

/// One weight's numbers: a constant plus a uniform spread, read at any index.
package struct SyntheticRecipe: Sendable {
  let constant: Float
  let spread: Float
  let seed: UInt64

  /// Numbers `first...` of the weight.
  package func fill(_ values: UnsafeMutableBufferPointer<Float>, first: Int) {
    guard spread != 0 else { return values.update(repeating: constant) }
    var i = 0
    while i < values.count {
      let lane = (first + i) & 3
      var bits = mixed((first + i) >> 2) >> (16 * UInt64(lane))
      for _ in 0..<min(4 - lane, values.count - i) {
        values[i] = value(UInt16(truncatingIfNeeded: bits))
        bits >>= 16
        i += 1
      }
    }
  }

  /// Number `index` of the weight.
  package func value(at index: Int) -> Float {
    value(UInt16(truncatingIfNeeded: mixed(index >> 2) >> (16 * UInt64(index & 3))))
  }

  /// A 16-bit draw as constant ± spread / 2.
  private func value(_ draw: UInt16) -> Float {
    constant + spread * ((Float(draw) + 0.5) * 0x1p-16 - 0.5)
  }

  /// SplitMix64's mixing of seed and counter: four draws.
  private func mixed(_ counter: Int) -> UInt64 {
    SplitMix64.mixed(seed &+ UInt64(truncatingIfNeeded: counter) &* SplitMix64.increment)
  }
}

extension WeightRole {
  /// A number of its own for every weight, whatever the order in which they are stored.
  fileprivate var stream: UInt64 {
    switch self {
    case .tokenEmbedding: 0
    case .positionEmbedding: 1
    case .projectIn: 2
    case .projectOut: 3
    case .head: 4
    case .embeddingNorm(let part): part == .weight ? 5 : 6
    case .finalNorm(let part): part == .weight ? 7 : 8
    case .layer(let layer, let role): 64 + 32 * UInt64(layer) + role.stream
    }
  }
}

extension WeightRole.LayerRole {
  fileprivate var stream: UInt64 {
    switch self {
    case .attentionNorm(let part): part == .weight ? 0 : 1
    case .mlpNorm(let part): part == .weight ? 2 : 3
    case .query: 4
    case .key: 5
    case .value: 6
    case .output: 7
    case .gate: 8
    case .up: 9
    case .down: 10
    case .queryBias: 11
    case .keyBias: 12
    case .valueBias: 13
    case .outputBias: 14
    case .gateBias: 15
    case .upBias: 16
    case .downBias: 17
    }
  }
}
