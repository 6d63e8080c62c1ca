#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

extension Rotary {
  /// Angle per position of each lane pair, `[width / 2]`, after scaling.
  ///
  /// Llama 3's scaling leaves high frequencies alone, divides low ones by `factor` and blends
  /// between, by how often a wave fits into the original context (Hugging Face's `llama3` rule).
  package var frequencies: [Double] {
    (0..<width / 2).map { pair in
      let frequency = pow(theta, -2 * Double(pair) / Double(width))
      switch scaling {
      case .none: return frequency
      case .linear(let factor): return frequency / factor
      case .llama3(let factor, let low, let high, let original):
        let fits = Double(original) * frequency / (2 * Double.pi)
        if fits < low { return frequency / factor }
        if fits > high { return frequency }
        let blend = (fits - low) / (high - low)
        return (1 - blend) * frequency / factor + blend * frequency
      }
    }
  }

  /// Cosines and sines of one position, `[width / 2]` each.
  package func turn(
    at position: Int, frequencies: [Double], cosines: inout [Float], sines: inout [Float]
  ) {
    for (pair, frequency) in frequencies.enumerated() {
      let angle = Double(position) * frequency
      cosines[pair] = Float(cos(angle))
      sines[pair] = Float(sin(angle))
    }
  }
}

/// BLOOM's slope for each head: a geometric sequence, odd powers of a finer one past a power of 2.
package func alibiSlopes(heads: Int) -> [Float] {
  var whole = 1
  while whole * 2 <= heads { whole *= 2 }
  let base = pow(2.0, -8.0 / Double(whole))
  var slopes = (1...whole).map { pow(base, Double($0)) }
  if whole < heads {
    let finer = pow(2.0, -4.0 / Double(whole))
    slopes += (0..<heads - whole).map { pow(finer, Double(2 * $0 + 1)) }
  }
  return slopes.map { Float($0) }
}
