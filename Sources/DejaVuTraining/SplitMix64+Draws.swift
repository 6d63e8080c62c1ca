package import DejaVuCore

/// What training draws: initial weights, orders and samples.
extension SplitMix64 {
  /// A generator for training, far from those of neighbouring seeds.
  package init(seed: UInt64) {
    self.init(state: seed &* Self.increment &+ 0xD1B5_4A32_D192_ED03)
  }

  /// Uniform with mean 0 and variance 1.
  package mutating func unit() -> Float {
    let fraction = Float(next() >> 40) * 0x1p-24
    return (2 * fraction - 1) * Float(3).squareRoot()
  }

  /// 0..<count in a random order.
  package mutating func permutation(_ count: Int) -> [Int] {
    var order = Array(0..<count)
    for i in stride(from: count - 1, to: 0, by: -1) { order.swapAt(i, index(i + 1)) }
    return order
  }
}
