package import DejaVu
package import DejaVuCPU
package import DejaVuCore
import DejaVuEvaluation
import DejaVuModels

/// A text's residual stream, taken through the model one layer at a time, so that every layer reads
/// what the quantized layers before it give.
///
/// Each reading runs the one decoder on a model of two layers, the quantized one and the next, whose
/// embedding table is the stream itself: token i of the text is row i. Memory is the stream,
/// `[tokens, D]` floats, and the moments of one layer.
package final class LayerStream {
  private let model: PackedModel
  private let windows: [[TokenID]]
  private let options: CPUOptions
  private let memory: StreamMemory

  /// - Parameters:
  ///   - model: in floats.
  ///   - windows: of equal length, at least 3 and at most the model's context.
  ///   - options: how the layers run.
  package init(model: PackedModel, windows: [[TokenID]], options: CPUOptions) {
    precondition(
      Set(windows.map(\.count)).count == 1 && windows[0].count >= 3,
      "windows of \(windows.map(\.count)) tokens")
    self.model = model
    // A token that is left alone in its batch would not be shown.
    let isShown = windows[0].count % options.batchCapacity != 1
    self.windows = isShown ? windows : windows.map { Array($0.dropLast()) }
    self.options = options
    let offset = if case .learned(let offset) = model.architecture.positions { offset } else { 0 }
    memory = StreamMemory(
      tokens: windows.count * self.windows[0].count, positions: windows[0].count + offset,
      width: model.architecture.hidden)
  }

  package var readings: Int { windows.count }

  /// Runs the text through a layer and sums up what its matrices read.
  ///
  /// - Parameters:
  ///   - layer: the next one; layers come in order.
  ///   - previous: the layer before it as it was quantized; nil for layer 0.
  ///   - isDiagonal: whether mean squares are enough.
  ///   - progress: called after every window; it may throw to give up.
  /// - Returns: sums over every token of the text.
  /// - Throws: ``BackendError``, or what `progress` throws.
  func moments(
    of layer: Int, behind previous: FloatLayer?, isDiagonal: Bool, progress: () throws -> Void
  ) throws -> LayerMoments {
    let part = previous.map { pair($0, layer) } ?? first()
    let engine = try Engine(model: part, backend: .cpu(options))
    guard let backend = engine.cpu else { preconditionFailure("the engine runs on the CPU") }
    let moments = LayerMoments(
      model.architecture, isDiagonal: isDiagonal, arithmetic: backend.makeArithmetic())
    let watcher = LayerWatcher(
      layer: part.layers.count - 1, backend: backend, moments: moments, stream: memory.stream)
    let length = windows[0].count
    let session = try engine.makeSession(capacity: length)
    for index in windows.indices {
      let start = index * length
      let tokens = previous == nil ? windows[index] : (start..<start + length).map { TokenID($0) }
      watcher.row = start
      try backend.watch(
        session, reading: [tokens], batch: backend.batchCapacity, with: watcher
      ) { watcher.row += $0 }
      try progress()
    }
    return moments
  }

  /// The model up to its first layer.
  private func first() -> PackedModel {
    var architecture = model.architecture
    architecture.layers = 1
    return PackedModel(
      architecture: architecture, tokenEmbedding: model.tokenEmbedding,
      positionEmbedding: model.positionEmbedding, embeddingNorm: model.embeddingNorm,
      projectIn: model.projectIn, projectOut: model.projectOut, finalNorm: model.finalNorm,
      head: model.head, layers: [model.layers[0]], owner: model)
  }

  /// Two layers that read the stream; learned positions are in it already.
  private func pair(_ previous: FloatLayer, _ layer: Int) -> PackedModel {
    var architecture = model.architecture
    architecture.layers = 2
    architecture.vocabulary = memory.stream.capacity
    architecture.embeddingWidth = architecture.hidden
    architecture.hasEmbeddingNorm = false
    let table = memory.matrix(memory.stream, columns: architecture.hidden)
    let isLearned = if case .learned = architecture.positions { true } else { false }
    return PackedModel(
      architecture: architecture, tokenEmbedding: table,
      positionEmbedding: isLearned
        ? memory.matrix(memory.zeros, columns: architecture.hidden) : nil,
      embeddingNorm: nil, projectIn: nil, projectOut: nil, finalNorm: model.finalNorm, head: table,
      layers: [previous.layer, model.layers[layer]], owner: previous)
  }
}

/// The stream, and a table of positions that adds nothing.
private final class StreamMemory: @unchecked Sendable {
  // Safe to share: one reading at a time writes rows that its own batch has read.
  let stream: CPUBuffer
  let zeros: CPUBuffer

  init(tokens: Int, positions: Int, width: Int) {
    stream = CPUBuffer(capacity: tokens, width: width)
    zeros = CPUBuffer(capacity: positions, width: width)
  }

  func matrix(_ buffer: CPUBuffer, columns: Int) -> RowMatrix {
    RowMatrix(
      base: UnsafeRawPointer(buffer.base), dtype: .float32, rows: buffer.capacity,
      columns: columns, stride: buffer.stride * 4)
  }
}

/// Keeps a layer's input in the stream and sums up what its matrices read.
private final class LayerWatcher: StepObserver {
  private let layer: Int
  private let backend: CPUBackend
  private let moments: LayerMoments
  private let stream: CPUBuffer
  private let normed: CPUBuffer
  /// Row of the stream that the batch's first token has.
  var row = 0

  init(layer: Int, backend: CPUBackend, moments: LayerMoments, stream: CPUBuffer) {
    self.layer = layer
    self.backend = backend
    self.moments = moments
    self.stream = stream
    normed = CPUBuffer(capacity: backend.batchCapacity, width: backend.architecture.hidden)
  }

  func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    guard layer == self.layer else { return }
    let weights = backend.model.layers[layer]
    switch site {
    case .attentionInput:
      for t in 0..<tokens {
        stream.row(row + t).update(
          from: values + t * stride, count: backend.architecture.hidden)
      }
      add(values, tokens, stride, normedBy: weights.attentionNorm, to: moments.attention)
    case .context: moments.context.add(values, tokens: tokens, stride: stride)
    case .mlpInput: add(values, tokens, stride, normedBy: weights.mlpNorm, to: moments.mlp)
    case .activations: moments.activations.add(values, tokens: tokens, stride: stride)
    case .output: break
    }
  }

  private func add(
    _ values: UnsafePointer<Float>, _ tokens: Int, _ stride: Int, normedBy norm: NormWeights,
    to moments: InputMoments
  ) {
    // Where norms come last, matrices read the stream as it is.
    guard backend.architecture.blockOrder != .postNorm else {
      return moments.add(values, tokens: tokens, stride: stride)
    }
    for t in 0..<tokens {
      let row = normed.row(t)
      row.update(from: values + t * stride, count: backend.architecture.hidden)
      backend.normalize(row, by: norm, into: row)
    }
    moments.add(normed.base, tokens: tokens, stride: normed.stride)
  }
}
