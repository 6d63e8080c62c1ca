import DejaVuEvaluation
import Testing

/// What thresholds buy, against direct counts over the tokens themselves.
struct MassCurveTests {
  private struct Token {
    let scores: [Float]
    let contributions: [Float]
    var total: Double { contributions.reduce(0) { $0 + Double($1) } }
  }

  private static let neurons = 40

  /// Tokens whose scores follow contributions loosely; some scores are equal.
  private static let tokens: [Token] = {
    var state: UInt64 = 9
    func next() -> Float {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Float(state >> 40) / Float(1 << 24)
    }
    return (0..<30).map { _ in
      let contributions = (0..<neurons).map { _ in next() < 0.6 ? 0 : next() * next() + 0.001 }
      let scores = contributions.map { (($0 + 0.4 * next()) * 50).rounded() / 50 - 0.2 }
      return Token(scores: scores, contributions: contributions)
    }
  }()

  private static let curve: MassCurve = {
    var curve = MassCurve(neurons: neurons)
    for token in tokens {
      token.scores.withUnsafeBufferPointer { scores in
        token.contributions.withUnsafeBufferPointer { contributions in
          curve.add(scores: scores, contributions: contributions, samplesAll: true)
        }
      }
    }
    curve.sort()
    return curve
  }()

  /// The mean over tokens of the share of its mass that scores above `threshold` cover.
  private func mass(above threshold: Float) -> Double {
    Self.tokens.reduce(0) { sum, token in
      let covered = zip(token.scores, token.contributions).reduce(0.0) {
        $0 + ($1.0 > threshold ? Double($1.1) : 0)
      }
      return sum + covered / token.total
    } / Double(Self.tokens.count)
  }

  @Test(arguments: [0.1, 0.5, 0.8, 0.9, 0.98, 0.998])
  func `a threshold covers the mass that was asked for, and a higher one does not`(
    wanted: Double
  ) throws {
    let threshold = Self.curve.threshold(covering: wanted)
    #expect(mass(above: threshold) >= wanted - 1e-6)
    #expect(abs(Self.curve.mass(above: threshold) - mass(above: threshold)) < 1e-5)
    let higher = try #require(Self.tokens.flatMap(\.scores).filter { $0 > threshold }.min())
    #expect(mass(above: higher) < wanted)
  }

  @Test func `covering everything leaves no active neuron out`() {
    let threshold = Self.curve.threshold(covering: 1)
    #expect(abs(mass(above: threshold) - 1) < 1e-5)
    #expect(Self.curve.recall(above: -.infinity) == 1)
    #expect(Self.curve.density(above: -.infinity) == 1)
    #expect(Self.curve.density(above: .infinity) == 0)
    #expect(Self.curve.precision(above: .infinity) == 0)
  }

  @Test(arguments: [0.0, 0.1, 0.35, 0.8, 1])
  func `a threshold leaves the share of rows that was asked for, ties aside`(density: Double) {
    let threshold = Self.curve.threshold(density: density)
    let found = Self.curve.density(above: threshold)
    let ties = Self.tokens.flatMap(\.scores).count { $0 == threshold.nextUp }
    #expect(found >= density - 1e-9)
    #expect(found <= density + Double(ties) / Double(Self.tokens.count * Self.neurons))
  }

  @Test(arguments: [Float(-0.3), 0, 0.1, 0.2, 0.5, 0.9])
  func `density, recall and precision are direct counts`(threshold: Float) {
    var (chosen, active, both) = (0, 0, 0)
    for token in Self.tokens {
      for (score, contribution) in zip(token.scores, token.contributions) {
        chosen += score > threshold ? 1 : 0
        active += contribution > 0 ? 1 : 0
        both += score > threshold && contribution > 0 ? 1 : 0
      }
    }
    let all = Double(Self.tokens.count * Self.neurons)
    let curve = Self.curve
    #expect(abs(curve.density(above: threshold) - Double(chosen) / all) < 1e-12)
    #expect(abs(curve.activeDensity(above: threshold) - Double(both) / all) < 1e-12)
    #expect(abs(curve.recall(above: threshold) - Double(both) / Double(active)) < 1e-12)
    #expect(abs(curve.precision(above: threshold) - Double(both) / Double(max(chosen, 1))) < 1e-12)
  }

  @Test func `a curve without tokens answers nothing`() {
    var curve = MassCurve(neurons: 4)
    curve.sort()
    #expect(curve.threshold(covering: 0.9) == 0)
    #expect(curve.mass(above: 0) == 0 && curve.density(above: 0) == 0)
    #expect(curve.recall(above: 0) == 0 && curve.precision(above: 0) == 0)
  }
}
