import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels

/// Reads windows dense, one at a time, while every row's contribution is kept.
struct ContributionPass {
  let engine: Engine
  let backend: CPUBackend
  /// Contributions of one window are kept for all layers.
  private static let memory = 1 << 29

  /// Tokens of a window for which there is room, at most what one batch holds.
  static func greatestLength(_ a: Architecture, batch: Int) -> Int {
    let perToken = a.layers * (a.neurons + a.kvHeads) * MemoryLayout<Float>.size
    return min(batch, max(2, memory / perToken))
  }

  /// - Parameters:
  ///   - windows: each as long as a batch at most; of longer ones the beginning.
  ///   - logits: called with a position and its logits, where they are wanted.
  ///   - body: called behind every window with its tokens and contributions.
  /// - Throws: ``BackendError``.
  func run(
    _ windows: [[TokenID]],
    logits: ((_ position: Int, UnsafeBufferPointer<Float>) -> Void)? = nil,
    body: (_ window: [TokenID], KeptContributions) throws(BackendError) -> Void
  ) throws(BackendError) {
    let a = engine.model.architecture
    let longest = windows.map(\.count).max() ?? 0
    let length = min(longest, Self.greatestLength(a, batch: backend.batchCapacity))
    let kept = KeptContributions(a, tokens: length)
    let session = try engine.makeSession(capacity: length)
    let observer = ContributionObserver(backend: backend, kept.keep)
    for window in windows {
      let part = Array(window.prefix(length))
      // A single token is not shown to observers.
      guard part.count > 1 else { continue }
      session.truncate(to: 0)
      backend.observer = observer
      defer { backend.observer = nil }
      try session.run(part[...], wanted: logits == nil ? .none : .all) { logits?($0, $1) }
      backend.observer = nil
      try body(part, kept)
    }
  }
}
