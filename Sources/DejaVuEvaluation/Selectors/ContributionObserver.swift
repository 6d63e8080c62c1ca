package import DejaVu
package import DejaVuCPU
package import DejaVuCore
package import DejaVuModels

/// Turns what passes through the blocks of a prompt into the contributions of their rows: of a
/// neuron |activation| · ‖down row‖, of a group of heads ‖Σ H_i(x) · W_O[i]‖.
package final class ContributionObserver: StepObserver {
  /// - Parameters:
  ///   - axis, layer: which rows.
  ///   - contributions: `[tokens, rows]`; valid during the call.
  ///   - tokens: those of the batch.
  package typealias Body = (
    _ axis: RowAxis, _ layer: Int, _ contributions: CPUBuffer, _ tokens: Int
  ) -> Void

  private let architecture: Architecture
  private let arithmetic: DenseArithmetic
  private let measures: [ContributionMeasure]
  private let sizes: [RowAxis: CPUBuffer]
  private let work: CPUBuffer
  private let body: Body
  /// Sees the stream at the input of layer 0, `[tokens, stride]`, before anything else of a batch.
  package var embeddings: ((UnsafePointer<Float>, _ tokens: Int, _ stride: Int) -> Void)?

  package init(backend: CPUBackend, _ body: @escaping Body) {
    architecture = backend.architecture
    arithmetic = backend.makeArithmetic()
    let (a, tokens) = (architecture, backend.batchCapacity)
    measures = backend.model.layers.map { [arithmetic] in ContributionMeasure($0, a, arithmetic) }
    sizes = [
      .heads: CPUBuffer(capacity: tokens, width: a.kvHeads),
      .neurons: CPUBuffer(capacity: tokens, width: a.neurons),
    ]
    work = CPUBuffer(capacity: tokens, width: a.heads * a.headWidth)
    self.body = body
  }

  package func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    switch site {
    case .attentionInput: if layer == 0 { embeddings?(values, tokens, stride) }
    case .mlpInput, .output: break
    case .context:
      guard let sizes = sizes[.heads] else { return }
      measures[layer].headNorms(
        values, tokens: tokens, stride: stride, arithmetic, work: work, into: sizes)
      body(.heads, layer, sizes, tokens)
    case .activations:
      guard let sizes = sizes[.neurons] else { return }
      measure(values, stride: stride, tokens: tokens, layer: layer, into: sizes)
      body(.neurons, layer, sizes, tokens)
    }
  }

  private func measure(
    _ values: UnsafePointer<Float>, stride: Int, tokens: Int, layer: Int, into sizes: CPUBuffer
  ) {
    nonisolated(unsafe) let (values, sizes) = (values, sizes)
    let norms = measures[layer].downNorms
    arithmetic.run(chunks: tokens) { t in
      let (row, size) = (values + t * stride, sizes.row(t))
      for i in norms.indices { size[i] = abs(row[i]) * norms[i] }
    }
  }
}

extension CPUBackend {
  /// Reads windows in batches while `observer` watches.
  ///
  /// - Parameters:
  ///   - session: what is read into; it is emptied before every window.
  ///   - windows: tokens.
  ///   - batch: the greatest number of tokens in one batch. A last batch of a single token is left
  ///     out, since observers are not shown it.
  ///   - observer: sees every batch.
  ///   - done: called after every batch with its number of tokens.
  /// - Throws: ``BackendError``.
  package func watch(
    _ session: any Session, reading windows: [[TokenID]], batch: Int,
    with observer: any StepObserver, done: (Int) -> Void
  ) throws(BackendError) {
    self.observer = observer
    defer { self.observer = nil }
    for window in windows {
      session.truncate(to: 0)
      for start in stride(from: 0, to: window.count, by: batch) {
        let part = window[start..<min(start + batch, window.count)]
        guard part.count > 1 else { continue }
        try session.run(part, wanted: .none) { _, _ in }
        done(part.count)
      }
    }
  }
}
