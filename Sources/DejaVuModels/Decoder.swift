package import DejaVuCore

/// The one decoder: Deja Vu's inference loop, over any backend and any choice of rows.
///
/// A dense run is the same loop with full sets.
package final class Decoder<B: Backend> {
  package let backend: B
  private let workspace: Workspace<B>

  package init(backend: B) {
    self.backend = backend
    workspace = Workspace(backend: backend)
  }

  /// Runs the batch through the network and leaves the logits at its wanted positions.
  ///
  /// - Parameters:
  ///   - batch: tokens of one or more sequences; their caches grow by them.
  ///   - selector: chooses S_A and S_M for every layer.
  /// - Throws: ``BackendError`` when the device failed at any kernel of this step.
  package func step<S: Selector>(
    _ batch: StepBatch<B.Cache>, selector: S
  ) throws(BackendError) where S.B == B {
    let x = workspace.hidden  // [T, D], the residual stream
    backend.begin(batch)
    backend.embed(into: x)
    for layer in 0..<backend.architecture.layers {
      switch backend.architecture.blockOrder {
      case .preNorm: preNormBlock(layer, x, selector)
      case .postNorm: postNormBlock(layer, x, selector)
      case .parallel: parallelBlock(layer, x, selector)
      }
    }
    backend.project(x)
    try backend.synchronize()
  }

  private func preNormBlock<S: Selector>(_ layer: Int, _ x: B.Buffer, _ selector: S)
  where S.B == B {
    let (normed, contribution) = (workspace.normed, workspace.contribution)
    let heads = selector.heads(for: layer, seeing: x)  // S_A
    backend.normalize(x, by: .attention(layer), into: normed)
    backend.attend(layer: layer, heads: heads, reading: normed, into: contribution)
    backend.combine(contribution)
    backend.add(contribution, bias: .attention(layer), into: x)  // x += Σ_{i ∈ S_A} H_i(normed)
    let neurons = selector.neurons(for: layer, seeing: x)  // S_M
    backend.normalize(x, by: .mlp(layer), into: normed)
    backend.transform(layer: layer, neurons: neurons, reading: normed, into: contribution)
    backend.combine(contribution)
    backend.add(contribution, bias: .mlp(layer), into: x)  // x += σ(normed · W1[S_M]ᵀ) · W2[S_M]
  }

  private func postNormBlock<S: Selector>(_ layer: Int, _ x: B.Buffer, _ selector: S)
  where S.B == B {
    let contribution = workspace.contribution
    let heads = selector.heads(for: layer, seeing: x)
    backend.attend(layer: layer, heads: heads, reading: x, into: contribution)
    backend.combine(contribution)
    backend.add(contribution, bias: .attention(layer), into: x)
    backend.normalize(x, by: .attention(layer), into: x)
    let neurons = selector.neurons(for: layer, seeing: x)
    backend.transform(layer: layer, neurons: neurons, reading: x, into: contribution)
    backend.combine(contribution)
    backend.add(contribution, bias: .mlp(layer), into: x)
    backend.normalize(x, by: .mlp(layer), into: x)
  }

  private func parallelBlock<S: Selector>(_ layer: Int, _ x: B.Buffer, _ selector: S)
  where S.B == B {
    let (normed, contribution) = (workspace.normed, workspace.contribution)
    let heads = selector.heads(for: layer, seeing: x)
    let neurons = selector.neurons(for: layer, seeing: x)
    backend.normalize(x, by: .attention(layer), into: normed)
    backend.attend(layer: layer, heads: heads, reading: normed, into: contribution)
    backend.combine(contribution)
    // Both halves read the same x, so the attention's share waits beside it.
    backend.normalize(x, by: .mlp(layer), into: normed)
    backend.add(contribution, bias: .attention(layer), into: x)
    backend.transform(layer: layer, neurons: neurons, reading: normed, into: contribution)
    backend.combine(contribution)
    backend.add(contribution, bias: .mlp(layer), into: x)
  }
}

/// Every activation buffer of a step, with its shape.
struct Workspace<B: Backend> {
  /// `[T, D]`, the residual stream.
  let hidden: B.Buffer
  /// `[T, D]`, what the current half-block reads.
  let normed: B.Buffer
  /// `[T, D]`, what the current half-block adds.
  let contribution: B.Buffer

  init(backend: B) {
    let width = backend.architecture.hidden
    hidden = backend.makeBuffer(width: width)
    normed = backend.makeBuffer(width: width)
    contribution = backend.makeBuffer(width: width)
  }
}
