package import DejaVuCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// How the next token is chosen from the logits.
public struct SamplingOptions: Hashable, Sendable {
  /// 0 takes the most likely token; otherwise logits are divided by it.
  public var temperature: Double
  /// Only this many most likely tokens are kept; 0 keeps all.
  public var topK: Int
  /// Only the most likely tokens whose probabilities sum to this are kept; 1 keeps all.
  public var topP: Double
  /// Only tokens at least this share as likely as the likeliest are kept; 0 keeps all.
  public var minP: Double
  /// Logits of tokens seen before are divided (or, negative, multiplied) by this; 1 does nothing.
  public var repetitionPenalty: Double
  /// Same seed, same text: draws depend on the seed and the position alone.
  public var seed: UInt64

  /// Greedy, unless a temperature is given.
  public init(
    temperature: Double = 0, topK: Int = 0, topP: Double = 1, minP: Double = 0,
    repetitionPenalty: Double = 1, seed: UInt64 = 0
  ) {
    self.temperature = temperature
    self.topK = topK
    self.topP = topP
    self.minP = minP
    self.repetitionPenalty = repetitionPenalty
    self.seed = seed
  }
}

extension SamplingOptions {
  /// How far below the greatest logit those of tokens may lie that are kept.
  fileprivate var span: Float {
    // Tokens below e^-20 of the likeliest cannot change a draw that resolves 2^-24.
    let reach = minP > 0 ? Float(-log(minP)) : 20
    return min(reach, 20) * Float(temperature)
  }

  /// The same for a device; nil with a penalty, for which the host keeps count.
  fileprivate var rule: TokenRule? {
    guard repetitionPenalty == 1 else { return nil }
    guard temperature > 0 else { return .likeliest }
    let divisor = Float(temperature)
    guard divisor.isNormal else { return nil }
    return TokenRule(temperature: divisor, span: span, keep: topK, share: topP, seed: seed)
  }
}

/// Chooses tokens: greedy, or by temperature, top-k, top-p and min-p from a counter-based draw.
///
/// The working arrays are kept, so that a steady decode loop allocates nothing.
package struct Sampler {
  private let options: SamplingOptions
  /// The same for a device that chooses by itself; nil where only the host can.
  package let rule: TokenRule?
  private var candidates: [(token: Int32, logit: Float)] = []
  private var penalized: [Float] = []
  private var isSeen: [Bool]

  package init(options: SamplingOptions, vocabulary: Int) {
    self.options = options
    rule = options.rule
    isSeen = Array(repeating: false, count: options.repetitionPenalty == 1 ? 0 : vocabulary)
    candidates.reserveCapacity(vocabulary)
  }

  /// Tells the sampler of a token of the prompt or of the text, for the repetition penalty.
  package mutating func observe(_ token: Int32) {
    guard Int(token) < isSeen.count, token >= 0 else { return }
    isSeen[Int(token)] = true
  }

  /// The next token.
  ///
  /// - Parameters:
  ///   - logits: `[V]`, finite.
  ///   - position: where the token will stand; part of the draw's counter.
  /// - Returns: an index of `logits`; of equally likely ones the greedy choice is the first.
  package mutating func next(_ logits: UnsafeBufferPointer<Float>, position: Int) -> Int32 {
    if isSeen.isEmpty { return choose(logits, position: position) }
    penalized.removeAll(keepingCapacity: true)
    penalized.append(contentsOf: logits)
    let penalty = Float(options.repetitionPenalty)
    for token in penalized.indices where isSeen[token] {
      penalized[token] =
        penalized[token] > 0 ? penalized[token] / penalty : penalized[token] * penalty
    }
    let adjusted = penalized
    return adjusted.withUnsafeBufferPointer { choose($0, position: position) }
  }

  private mutating func choose(_ logits: UnsafeBufferPointer<Float>, position: Int) -> Int32 {
    let best = argmax(logits)
    guard options.temperature > 0 else { return Int32(best) }
    gather(logits, greatest: logits[best])
    return draw(uniform: Self.uniform(seed: options.seed, counter: UInt64(position)))
  }

  /// Candidates by falling logit, cut by min-p and top-k.
  private mutating func gather(_ logits: UnsafeBufferPointer<Float>, greatest: Float) {
    let temperature = Float(options.temperature)
    let floor = greatest - options.span
    candidates.removeAll(keepingCapacity: true)
    for (token, logit) in logits.enumerated() where logit >= floor {
      candidates.append((Int32(token), (logit - greatest) / temperature))
    }
    candidates.sort { $0.logit > $1.logit || ($0.logit == $1.logit && $0.token < $1.token) }
    if options.topK > 0, options.topK < candidates.count {
      candidates.removeLast(candidates.count - options.topK)
    }
  }

  private func draw(uniform: Double) -> Int32 {
    let total = candidates.reduce(0.0) { $0 + exp(Double($1.logit)) }
    var (kept, count) = (0.0, 0)
    while count < candidates.count, count == 0 || kept < options.topP * total {
      kept += exp(Double(candidates[count].logit))
      count += 1
    }
    var target = uniform * kept
    for candidate in candidates.prefix(count) {
      target -= exp(Double(candidate.logit))
      if target < 0 { return candidate.token }
    }
    return candidates[max(count - 1, 0)].token
  }

  /// A number in [0, 1) from a counter: SplitMix64's mixing of seed and position.
  package static func uniform(seed: UInt64, counter: UInt64) -> Double {
    let mixed = SplitMix64.mixed(seed &+ (counter &+ 1) &* SplitMix64.increment)
    return Double(mixed >> 11) * 0x1p-53
  }
}

/// Index of the greatest logit, the first of equals.
package func argmax(_ logits: UnsafeBufferPointer<Float>) -> Int {
  var best = 0
  for index in logits.indices where logits[index] > logits[best] { best = index }
  return best
}
