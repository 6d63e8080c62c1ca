import CDejaVuKernels
package import DejaVuCore

/// Makes shadows: the rows that decide whether a neuron fires, rounded to a few bits.
///
/// A shadow needs no training. Its score for neuron r is (ŵ_r · norm(x) + b_r) · ‖down row r‖, an
/// estimate of the neuron's contribution; in gated models the deciding row is the gate.
package struct ShadowMaker {
  let backend: CPUBackend

  package init(backend: CPUBackend) { self.backend = backend }

  /// The shadow of one layer's MLP in `bits` (2, 4 or 8), rows shared among the backend's threads.
  package func shadow(layer: Int, bits: Int) -> ChooserWeights {
    let weights = backend.model.layers[layer]
    let matrix = weights.bundle.gate ?? weights.bundle.up
    let columns = (matrix.columns + 63) / 64 * 64
    let bytes = GroupwiseMatrix.rowBytes(columns: columns, bits: bits)
    let storage = GroupwiseStorage(byteCount: bytes * matrix.rows)
    nonisolated(unsafe) let target = storage.base
    nonisolated(unsafe) let kernels = backend.kernels
    let piece = 64
    backend.team.run(chunks: (matrix.rows + piece - 1) / piece) { chunk in
      // A padded row may be wider than whole groups, and the other way round.
      withUnsafeTemporaryAllocation(
        of: Float.self, capacity: max(columns, matrix.paddedColumns)
      ) { row in
        guard let wide = row.baseAddress else { return }
        for r in chunk * piece..<min((chunk + 1) * piece, matrix.rows) {
          wide.initialize(repeating: 0, count: columns)
          kernels.widen(r, of: matrix, into: wide)
          dejavu_quantize_row(target + r * bytes, wide, columns, Int32(bits))
        }
      }
    }
    let norms = FloatVector(base: backend.downNorms(layer: layer), count: matrix.rows)
    return ChooserWeights(
      first: GroupwiseMatrix(
        base: storage.base, bits: bits, rows: matrix.rows, columns: columns, owner: storage),
      norm: .mlp, bias: weights.bundle.gate == nil ? weights.upBias : weights.gateBias,
      gain: norms)
  }
}
