package import DejaVuCore

/// How large a row's output is: one layer's norms of down rows, and products of output rows.
///
/// A neuron adds a · W2[i], of norm |a| · ‖W2[i]‖. A head adds c · W_O[i], of norm √(c G cᵀ) with
/// G = W_O[i] W_O[i]ᵀ.
package struct ContributionMeasure {
  /// `[F]`.
  package let downNorms: [Float]
  /// `[K][w, w]`, w being the lanes of a group's heads.
  let grams: CPUBuffer
  let groups: Int
  let lanes: Int

  package init(_ layer: PackedLayer, _ architecture: Architecture, _ arithmetic: DenseArithmetic) {
    let loops = arithmetic.loops
    downNorms = Self.norms(of: layer.bundle.down, arithmetic)
    groups = architecture.kvHeads
    lanes = architecture.headsPerGroup * architecture.headWidth
    grams = CPUBuffer(capacity: groups * lanes, width: lanes)
    let output = layer.output
    let wide = CPUBuffer(capacity: lanes, width: output.columns)
    for group in 0..<groups {
      for lane in 0..<lanes {
        loops.widen(group * lanes + lane, of: output, into: wide.row(lane))
      }
      arithmetic.pack(wide.base, stride: wide.stride, rows: lanes, columns: output.paddedColumns)
      arithmetic.multiply(
        rows: wide.base, count: lanes, stride: wide.stride, into: grams.row(group * lanes),
        stride: grams.stride)
    }
  }

  /// The norm of every row.
  private static func norms(of matrix: RowMatrix, _ arithmetic: DenseArithmetic) -> [Float] {
    var norms = [Float](repeating: 0, count: matrix.rows)
    let (loops, piece) = (arithmetic.loops, 256)
    norms.withUnsafeMutableBufferPointer { buffer in
      nonisolated(unsafe) let norms = buffer
      arithmetic.run(chunks: (matrix.rows + piece - 1) / piece) { chunk in
        let wide = CPUBuffer(capacity: 1, width: matrix.columns)
        for index in chunk * piece..<min((chunk + 1) * piece, matrix.rows) {
          loops.widen(index, of: matrix, into: wide.base)
          norms[index] = (0..<matrix.columns)
            .reduce(Float(0)) { $0 + wide.base[$1] * wide.base[$1] }.squareRoot()
        }
      }
    }
    return norms
  }

  /// Norms of what every group adds, `[tokens, K]`.
  ///
  /// - Parameters:
  ///   - context: `[tokens, stride]`, what attention hands to the output rows.
  ///   - tokens: T.
  ///   - stride: floats from one token to the next.
  ///   - arithmetic: does the products.
  ///   - work: `[tokens, K · lanes]` at least.
  ///   - out: `[tokens, K]` at least.
  package func headNorms(
    _ context: UnsafePointer<Float>, tokens: Int, stride: Int, _ arithmetic: DenseArithmetic,
    work: CPUBuffer, into out: CPUBuffer
  ) {
    precondition(work.stride >= groups * lanes && work.capacity >= tokens, "too little room")
    arithmetic.multiply(
      blocks: groups, columns: lanes, context, stride: stride, rows: tokens, by: grams, into: work)
    nonisolated(unsafe) let (context, work, out) = (context, work, out)
    let (groups, lanes) = (groups, lanes)
    arithmetic.run(chunks: tokens) { t in
      for group in 0..<groups {
        let product = work.row(t) + group * lanes
        let part = context + t * stride + group * lanes
        var square: Float = 0
        for lane in 0..<lanes { square += product[lane] * part[lane] }
        out.row(t)[group] = max(square, 0).squareRoot()
      }
    }
  }

  /// Norms of every group's context vector, `[tokens, K]`: the paper's measure of a head.
  package func contextNorms(
    _ context: UnsafePointer<Float>, tokens: Int, stride: Int, into out: CPUBuffer
  ) {
    for t in 0..<tokens {
      for group in 0..<groups {
        let part = context + t * stride + group * lanes
        out.row(t)[group] =
          (0..<lanes).reduce(Float(0)) { $0 + part[$1] * part[$1] }.squareRoot()
      }
    }
  }
}
