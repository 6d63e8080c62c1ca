import DejaVuCore

/// How far a layer turns the stream, and the norms that explain it: means over tokens.
package struct DriftRow: Codable, Hashable, Sendable {
  package var layer: Int
  /// Cosine of the stream before and behind the attention; `null` where both halves of a block read
  /// the same stream.
  package var attentionCosine: Figure
  /// The same of the MLP.
  package var mlpCosine: Figure
  /// Between this layer's input and the next one's.
  package var layerCosine: Figure
  /// Norms of the stream at the layer's input, and of what its halves add.
  package var streamNorm: Figure
  package var attentionNorm: Figure
  package var mlpNorm: Figure
}

/// Watches the stream; first tokens of windows, whose streams are like no other's, are left out.
final class DriftObserver: StepObserver {
  private let architecture: Architecture
  /// The stream last seen at a layer's input, and behind its attention: `[T][D]`.
  private var (input, middle): ([[Float]], [[Float]]) = ([], [])
  private var means: [[Mean]]
  /// Whether the stream between the two halves is seen.
  private var isSequential: Bool { architecture.blockOrder != .parallel }

  init(_ architecture: Architecture) {
    self.architecture = architecture
    means = Array(repeating: Array(repeating: Mean(), count: 6), count: architecture.layers)
  }

  func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    guard [.attentionInput, .mlpInput, .output].contains(site) else { return }
    let rows = (0..<tokens).map { t in
      Array(UnsafeBufferPointer(start: values + t * stride, count: architecture.hidden))
    }
    switch site {
    case .attentionInput:
      if layer > 0 { finish(layer - 1, rows) }
      input = rows
    case .mlpInput: middle = rows
    default: finish(layer, rows)
    }
  }

  private func finish(_ layer: Int, _ output: [[Float]]) {
    for t in 1..<output.count {
      let (x, z) = (input[t], output[t])
      let whole = Self.figures(x, z)
      means[layer][2].add(whole.cosine)
      means[layer][3].add(whole.norm)
      guard isSequential else { continue }
      let (first, second) = (Self.figures(x, middle[t]), Self.figures(middle[t], z))
      means[layer][0].add(first.cosine)
      means[layer][1].add(second.cosine)
      means[layer][4].add(first.difference)
      means[layer][5].add(second.difference)
    }
  }

  /// cos(a, b), ‖a‖ and ‖b − a‖.
  private static func figures(
    _ a: [Float], _ b: [Float]
  ) -> (cosine: Double?, norm: Double, difference: Double) {
    var (product, aa, bb, square) = (0.0, 0.0, 0.0, 0.0)
    for (x, y) in zip(a, b) {
      let (x, y) = (Double(x), Double(y))
      product += x * y
      aa += x * x
      bb += y * y
      square += (y - x) * (y - x)
    }
    let norms = (aa * bb).squareRoot()
    return (norms > 0 ? product / norms : nil, aa.squareRoot(), square.squareRoot())
  }

  var rows: [DriftRow] {
    means.enumerated().map { layer, mean in
      DriftRow(
        layer: layer, attentionCosine: Figure(mean[0].value), mlpCosine: Figure(mean[1].value),
        layerCosine: Figure(mean[2].value), streamNorm: Figure(mean[3].value),
        attentionNorm: Figure(mean[4].value), mlpNorm: Figure(mean[5].value))
    }
  }
}
