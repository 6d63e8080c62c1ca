/// SplitMix64: the same numbers on every machine, from a seed that a failing test can name.
package struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }

  /// Uniform with mean 0 and variance 1.
  package mutating func unit() -> Float {
    let fraction = Double(next() >> 11) * 0x1p-53
    return Float((2 * fraction - 1) * 3.0.squareRoot())
  }

  package mutating func units(_ count: Int) -> [Float] { (0..<count).map { _ in unit() } }

  /// A strictly ascending list of the rows of `universe`, each taken with probability `density`.
  package mutating func rows(of universe: Int, density: Double) -> [Int32] {
    (0..<Int32(universe)).filter { _ in Double(next() >> 11) * 0x1p-53 < density }
  }
}
