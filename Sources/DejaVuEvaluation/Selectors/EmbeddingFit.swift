package import DejaVuCPU
package import DejaVuCore
package import DejaVuModels

/// Fits the non-contextual choosers: linear scores of x_0, the stream at the input of layer 0, which
/// knows a token and its position and nothing of the text before it.
///
/// Row r of a block scores w_r · x̂_0 + b_r, x̂_0 being x_0 by its root mean square; the scores are
/// those that foretell the row's share of its token's contributions with the least squared error,
/// by ridge regression over calibration text:
///
///     W = Yᶜᵀ X̂ᶜ (X̂ᶜᵀ X̂ᶜ + λ)⁻¹,  b = ȳ − W x̄       (ᶜ: less its mean over tokens)
///
/// In closed form, so neither seed nor number of steps decides how well the control does. With W = 0
/// it would be the choice of the heaviest rows for every token.
package final class EmbeddingFit {
  private let backend: CPUBackend
  private let session: any Session
  private let windows: [[TokenID]]
  private let arithmetic: DenseArithmetic
  private let architecture: Architecture
  /// λ by the mean of the diagonal that it is added to.
  private static let ridge = 0.02
  /// Sums of so many bytes are kept at once; larger models are read several times.
  private static let memory = 1 << 30

  /// - Parameters:
  ///   - backend: of the engine.
  ///   - session: one of the engine's, dense, with room for the longest window.
  ///   - windows: tokens of calibration text.
  package init(backend: CPUBackend, session: any Session, windows: [[TokenID]]) {
    self.backend = backend
    self.session = session
    self.windows = windows
    arithmetic = backend.makeArithmetic()
    architecture = backend.architecture
  }

  /// Layers whose sums are kept at once.
  private var layersAtOnce: Int {
    let rows = architecture.neurons + architecture.kvHeads
    return max(1, Self.memory / (rows * architecture.hidden * MemoryLayout<Float>.size))
  }

  /// Times that the text is read.
  package var passes: Int { (architecture.layers + layersAtOnce - 1) / layersAtOnce }

  /// Choosers in 8 bits for every layer.
  ///
  /// - Parameters:
  ///   - axes: the rows that are to be chosen.
  ///   - progress: called with the tokens of every batch that is done.
  /// - Returns: for each site of the placement `embedding`, what scores its rows.
  /// - Throws: ``BackendError``.
  package func choosers(
    axes: [RowAxis], progress: (Int) -> Void
  ) throws(BackendError) -> [ChooserSite: ChooserWeights] {
    var choosers: [ChooserSite: ChooserWeights] = [:]
    for first in stride(from: 0, to: architecture.layers, by: layersAtOnce) {
      let layers = first..<min(first + layersAtOnce, architecture.layers)
      let sums = RegressionSums(architecture, axes: axes, layers: layers, backend: backend)
      let observer = ContributionObserver(backend: backend, sums.add)
      observer.embeddings = sums.begin
      try backend.watch(
        session, reading: windows, batch: backend.batchCapacity, with: observer, done: progress)
      let inverse = sums.inverse(ridge: Self.ridge)
      for layer in layers {
        for axis in axes {
          let site = ChooserSite(layer: layer, axis: axis, kind: .lowRank(.embedding))
          choosers[site] = chooser(sums, inverse, axis, layer)
        }
      }
    }
    return choosers
  }

  private func chooser(
    _ sums: RegressionSums, _ inverse: CPUBuffer, _ axis: RowAxis, _ layer: Int
  ) -> ChooserWeights {
    let (width, rows) = (architecture.hidden, axis.rows(architecture))
    let (products, means) = sums.centred(axis, layer)
    let weights = CPUBuffer(capacity: width, width: rows)
    arithmetic.pack(inverse.base, stride: inverse.stride, rows: width, columns: width)
    arithmetic.multiply(
      columns: products.base, count: rows, stride: products.stride, into: weights.base,
      stride: weights.stride)
    let columns = PredictorEntry.columns(architecture)
    let bytes = GroupwiseMatrix.rowBytes(columns: columns, bits: 8)
    let storage = GroupwiseStorage(byteCount: bytes * rows)
    let biases = GroupwiseStorage(byteCount: 4 * rows)
    let bias = biases.base.assumingMemoryBound(to: Float.self)
    nonisolated(unsafe) let (target, from, to) = (storage.base, weights, bias)
    let base = sums.meanInput
    arithmetic.run(chunks: rows) { row in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { line in
        guard let wide = line.baseAddress else { return }
        wide.initialize(repeating: 0, count: columns)
        var shift: Float = 0
        for i in 0..<width {
          wide[i] = from.row(i)[row]
          shift += wide[i] * base[i]
        }
        to[row] = means[row] - shift
        GroupwiseRows.quantize(wide, columns: columns, bits: 8, into: target + row * bytes)
      }
    }
    return ChooserWeights(
      first: GroupwiseMatrix(
        base: storage.base, bits: 8, rows: rows, columns: columns, owner: storage),
      norm: .plain,
      bias: FloatVector(base: UnsafePointer(bias), count: rows, owner: biases))
  }
}
