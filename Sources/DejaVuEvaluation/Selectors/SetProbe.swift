package import DejaVu
import DejaVuCPU
package import DejaVuCore
package import DejaVuModels

/// Figures of every layer's sets, on both axes.
package struct SetFigures: Hashable, Sendable {
  /// By layer.
  package var heads: [RowFigures]
  package var neurons: [RowFigures]

  package init(layers: Int) {
    heads = Array(repeating: RowFigures(), count: layers)
    neurons = heads
  }

  /// All layers together.
  package func total(_ axis: RowAxis) -> RowFigures {
    (axis == .heads ? heads : neurons).reduce(into: RowFigures()) { $0 += $1 }
  }
}

/// Measures the sets that a plan chooses against the true contributions of all rows.
///
/// Text is read through the prompt path with the plan acting at every position, so that every row's
/// contribution is there to be seen, in the stream that the plan's own choices have made.
package struct SetProbe {
  private let engine: Engine
  private let backend: CPUBackend
  /// Contributions of one batch are kept for all layers.
  private static let memory = 1 << 28

  /// - Returns: nil where the engine does not run on the CPU.
  package init?(engine: Engine) {
    guard let backend = engine.cpu else { return nil }
    self.engine = engine
    self.backend = backend
  }

  /// - Parameters:
  ///   - sparsity: the plan, with its choosers.
  ///   - windows: tokens of each window, a first token included.
  ///   - progress: called with the tokens of every batch that is done.
  /// - Returns: figures by layer.
  /// - Throws: ``BackendError``.
  package func figures(
    of sparsity: Sparsity, windows: [[TokenID]], progress: (Int) -> Void
  ) throws(BackendError) -> SetFigures {
    let a = engine.model.architecture
    let perToken = a.layers * (a.neurons + a.kvHeads) * MemoryLayout<Float>.size
    let tokens = min(backend.batchCapacity, max(2, Self.memory / perToken))
    let kept = KeptContributions(a, tokens: tokens)
    let observer = ContributionObserver(backend: backend, kept.keep)
    let session = try engine.makeSession(
      capacity: windows.map(\.count).max() ?? 0, mode: .sparse, sparsity: sparsity)
    var figures = SetFigures(layers: a.layers)
    try backend.watch(session, reading: windows, batch: tokens, with: observer) { count in
      for layer in 0..<a.layers {
        for token in 0..<count {
          figures.heads[layer].add(
            kept.contributions(.heads, layer, token),
            chosen: session.rows(.heads, layer: layer, token: token))
          figures.neurons[layer].add(
            kept.contributions(.neurons, layer, token),
            chosen: session.rows(.neurons, layer: layer, token: token))
        }
      }
      progress(count)
    }
    return figures
  }
}

/// Contributions of one batch: its sets are complete only when the step has ended.
final class KeptContributions {
  /// `[layer][T, rows]`.
  private let heads: [CPUBuffer]
  private let neurons: [CPUBuffer]
  private let architecture: Architecture

  init(_ architecture: Architecture, tokens: Int) {
    self.architecture = architecture
    heads = (0..<architecture.layers).map { _ in
      CPUBuffer(capacity: tokens, width: architecture.kvHeads)
    }
    neurons = (0..<architecture.layers).map { _ in
      CPUBuffer(capacity: tokens, width: architecture.neurons)
    }
  }

  func keep(_ axis: RowAxis, _ layer: Int, _ values: CPUBuffer, _ tokens: Int) {
    let target = axis == .heads ? heads[layer] : neurons[layer]
    target.base.update(from: values.base, count: tokens * values.stride)
  }

  func contributions(_ axis: RowAxis, _ layer: Int, _ token: Int) -> UnsafeBufferPointer<Float> {
    let buffer = axis == .heads ? heads[layer] : neurons[layer]
    return UnsafeBufferPointer(start: buffer.row(token), count: axis.rows(architecture))
  }
}
