import DejaVuCore
import DejaVuModels
import Foundation
import Testing

struct SamplerTests {
  /// Distinct logits with a long tail, in no order.
  private static let logits: [Float] = (0..<50).map { Float(($0 * 37) % 50) * 0.13 - 2 }

  private func draws(_ options: SamplingOptions, _ count: Int = 4000) -> [Int32] {
    var sampler = Sampler(options: options, vocabulary: Self.logits.count)
    return Self.logits.withUnsafeBufferPointer { logits in
      (0..<count).map { sampler.next(logits, position: $0) }
    }
  }

  /// Tokens by falling probability under a temperature.
  private func ranked(_ temperature: Double) -> [(token: Int32, probability: Double)] {
    let weights = Self.logits.map { exp(Double($0) / temperature) }
    let total = weights.reduce(0, +)
    return weights.enumerated().map { (Int32($0), $1 / total) }.sorted { $0.1 > $1.1 }
  }

  @Test
  func `temperature 0 takes the likeliest token, the first of equals`() {
    let best = Int32(Self.logits.indices.max { Self.logits[$0] < Self.logits[$1] } ?? 0)
    #expect(draws(SamplingOptions(topK: 3, topP: 0.1), 5) == Array(repeating: best, count: 5))
    let flat: [Float] = [0, 3, 1, 3]
    var sampler = Sampler(options: SamplingOptions(), vocabulary: 4)
    #expect(flat.withUnsafeBufferPointer { sampler.next($0, position: 0) } == 1)
  }

  @Test(arguments: [0.5, 1.0, 2.0])
  func `draws follow the probabilities`(temperature: Double) {
    let count = 40_000
    let drawn = draws(SamplingOptions(temperature: temperature, seed: 5), count)
    var counts: [Int32: Int] = [:]
    for token in drawn { counts[token, default: 0] += 1 }
    for (token, probability) in ranked(temperature) {
      // Five standard deviations of a count.
      let deviation = (Double(count) * probability * (1 - probability)).squareRoot()
      let difference = Double(counts[token] ?? 0) - Double(count) * probability
      #expect(abs(difference) <= 5 * deviation + 1)
    }
  }

  @Test(arguments: [1, 2, 7, 50, 51])
  func `top-k keeps the k likeliest`(k: Int) {
    let drawn = Set(draws(SamplingOptions(temperature: 2, topK: k)))
    #expect(drawn == Set(ranked(2).prefix(k).map(\.token)))
  }

  @Test(arguments: [0.01, 0.3, 0.6, 0.9])
  func `top-p keeps the fewest tokens that sum to p`(p: Double) {
    var (sum, kept): (Double, Set<Int32>) = (0, [])
    for (token, probability) in ranked(1) where sum < p {
      sum += probability
      kept.insert(token)
    }
    #expect(Set(draws(SamplingOptions(temperature: 1, topP: p))) == kept)
  }

  @Test(arguments: [0.05, 0.2, 0.7, 1.0])
  func `min-p keeps tokens of that share of the likeliest`(p: Double) {
    let all = ranked(1.5)
    let kept = all.filter { $0.probability >= p * all[0].probability * (1 - 1e-6) }
    #expect(
      Set(draws(SamplingOptions(temperature: 1.5, minP: p))) == Set(kept.map(\.token)))
  }

  @Test
  func `the same seed draws the same tokens, another seed others`() {
    let options = SamplingOptions(temperature: 1, seed: 9)
    #expect(draws(options, 100) == draws(options, 100))
    #expect(draws(options, 100) != draws(SamplingOptions(temperature: 1, seed: 10), 100))
  }

  @Test
  func `a draw depends on seed and position alone`() {
    let options = SamplingOptions(temperature: 1, seed: 3)
    var sampler = Sampler(options: options, vocabulary: Self.logits.count)
    let alone = Self.logits.withUnsafeBufferPointer { sampler.next($0, position: 61) }
    #expect(draws(options, 100)[61] == alone)
  }

  @Test
  func `the penalty divides positive logits of seen tokens and multiplies negative ones`() {
    func next(_ logits: [Float], penalty: Double, seen: [Int32]) -> Int32 {
      let options = SamplingOptions(repetitionPenalty: penalty)
      var sampler = Sampler(options: options, vocabulary: logits.count)
      for token in seen { sampler.observe(token) }
      return logits.withUnsafeBufferPointer { sampler.next($0, position: 0) }
    }
    #expect(next([4, 3, 1], penalty: 1.2, seen: [0]) == 0)
    #expect(next([4, 3, 1], penalty: 1.5, seen: [0]) == 1)
    #expect(next([4, 3, 1], penalty: 1.5, seen: [0, 0, 0]) == 1)
    #expect(next([4, 3, 1], penalty: 1.5, seen: [0, 1]) == 0)
    #expect(next([-1, -2.5, -4], penalty: 2, seen: [0]) == 0)
    #expect(next([-1, -2.5, -4], penalty: 3, seen: [0]) == 1)
    #expect(next([1, 2], penalty: 1, seen: [1]) == 1)
    #expect(next([1, 2], penalty: 3, seen: [1, -1, 7]) == 0)
  }

  @Test
  func `scores are logarithms of the softmax and name the likeliest`() {
    let logits: [Float] = [1, 1000, -.infinity, 999, 1000]
    logits.withUnsafeBufferPointer { logits in
      let score = TokenScore(3, given: logits, alternatives: 3)
      #expect(abs(score.logProbability + log(exp(1.0) * 2 + 1)) < 1e-12)
      #expect(!score.isGreedy)
      #expect(score.alternatives.map(\.token) == [1, 4, 3])
      #expect(score.alternatives[2].logProbability == score.logProbability)
      #expect(TokenScore(1, given: logits).isGreedy)
      #expect(!TokenScore(4, given: logits).isGreedy)
      #expect(likeliest(9, of: logits) == [1, 4, 3, 0, 2])
    }
  }
}
