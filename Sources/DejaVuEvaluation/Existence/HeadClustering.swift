import DejaVuCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The mean-shift view of one head: what attention does to the distances between tokens.
package struct ClusteringRow: Codable, Hashable, Sendable {
  package var layer: Int
  package var head: Int
  /// Mean distance of two tokens in the head's value projection, and behind its attention.
  package var distanceBefore: Figure
  package var distanceAfter: Figure
  /// The second by the first: small where the head draws tokens together.
  package var distanceRatio: Figure
  /// Entropy of the weights over that of equal weights: 1 of a uniform head, 0 of one that looks at a
  /// single token.
  package var entropy: Figure
}

/// Watches attention by the weights that the engine itself computed.
final class ClusteringObserver: AttentionObserver {
  private let architecture: Architecture
  /// Tokens with fewer positions before them see too little to choose from.
  static let firstPosition = 16
  /// `[layer][head]`.
  private var before: [[Mean]]
  private var after: [[Mean]]
  private var entropy: [[Mean]]

  init(_ architecture: Architecture) {
    self.architecture = architecture
    before = Array(
      repeating: Array(repeating: Mean(), count: architecture.heads), count: architecture.layers)
    (after, entropy) = (before, before)
  }

  func observe(layer: Int, _ view: AttentionView) {
    let h = architecture.headWidth
    let seen = (0..<view.tokens).filter { view.position + $0 >= Self.firstPosition }
    for head in 0..<architecture.heads {
      let group = head / architecture.headsPerGroup
      for (index, a) in seen.enumerated() {
        for b in seen[(index + 1)...] {
          before[layer][head].add(
            Self.distance(view.values + group * h, view.valueStride, a, b, width: h))
          after[layer][head].add(
            Self.distance(view.context + head * h, view.contextStride, a, b, width: h))
        }
        entropy[layer][head].add(Self.entropy(view.weights(head: head, token: a)))
      }
    }
  }

  private static func distance(
    _ rows: UnsafePointer<Float>, _ stride: Int, _ a: Int, _ b: Int, width: Int
  ) -> Double {
    var sum: Float = 0
    for i in 0..<width {
      let difference = rows[a * stride + i] - rows[b * stride + i]
      sum += difference * difference
    }
    return Double(sum).squareRoot()
  }

  /// −Σ p ln p by ln of the number of positions.
  static func entropy(_ weights: UnsafeBufferPointer<Float>) -> Double? {
    guard weights.count > 1 else { return nil }
    let sum = weights.reduce(0.0) { $0 - ($1 > 0 ? Double($1) * log(Double($1)) : 0) }
    return sum / log(Double(weights.count))
  }

  var rows: [ClusteringRow] {
    (0..<architecture.layers).flatMap { layer in
      (0..<architecture.heads).map { head in
        let (first, second) = (before[layer][head].value, after[layer][head].value)
        var ratio: Double?
        if let first, let second, first > 0 { ratio = second / first }
        return ClusteringRow(
          layer: layer, head: head, distanceBefore: Figure(small: first),
          distanceAfter: Figure(small: second), distanceRatio: Figure(ratio),
          entropy: Figure(entropy[layer][head].value))
      }
    }
  }
}
