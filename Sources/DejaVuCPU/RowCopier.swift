import CDejaVuKernels
package import DejaVuCore

/// Copies matrices between layouts and types, rows shared among a team's threads.
package struct RowCopier {
  private let team: ThreadTeam
  private let kernels: UnsafePointer<dejavu_kernels>

  package init(team: ThreadTeam) throws(BackendError) {
    guard let kernels = InstructionSet.best.table else {
      throw .unavailable(backend: "CPU", reason: "no kernels for this machine")
    }
    self.team = team
    self.kernels = kernels
  }

  /// Where the rows of a matrix lie.
  ///
  /// Element (r, c) is at `(r / blockRows) · blockStride + (r % blockRows) · rowStride
  /// + c · columnStride` elements from `base`.
  package struct Source {
    package var base: UnsafeRawPointer
    package var dtype: DType
    package var blockRows: Int
    package var blockStride: Int
    package var rowStride: Int
    package var columnStride: Int

    package init(
      base: UnsafeRawPointer, dtype: DType, blockRows: Int, blockStride: Int, rowStride: Int,
      columnStride: Int
    ) {
      self.base = base
      self.dtype = dtype
      self.blockRows = blockRows
      self.blockStride = blockStride
      self.rowStride = rowStride
      self.columnStride = columnStride
    }
  }

  /// Copies `rows` rows of `columns` elements; padding of the target is left as it is.
  package func copy(
    _ source: Source, rows: Int, columns: Int, to target: UnsafeMutableRawPointer, stride: Int,
    dtype: DType
  ) {
    var job = dejavu_copy_job(
      from: source.base, from_type: source.dtype.code, to_type: dtype.code,
      block_rows: source.blockRows, block_stride: source.blockStride,
      row_stride: source.rowStride, column_stride: source.columnStride, to: target,
      to_stride: stride, columns: columns)
    // Pieces of about a megabyte: many per tensor, so that threads finish together.
    let piece = max(64, (1 << 20) / max(columns * dtype.size, 1) / 64 * 64)
    let chunks = (rows + piece - 1) / piece
    withUnsafePointer(to: &job) { pointer in
      nonisolated(unsafe) let job = pointer
      nonisolated(unsafe) let kernels = kernels
      team.run(chunks: chunks) { chunk in
        let first = chunk * piece
        dejavu_copy_rows(kernels, job, first, min(piece, rows - first))
      }
    }
  }

  /// Fills `count` elements with `value(i)` for pieces claimed by the threads.
  package func fill(
    _ target: UnsafeMutableRawPointer, dtype: DType, count: Int,
    _ generate: @Sendable (_ first: Int, _ into: UnsafeMutableBufferPointer<Float>) -> Void
  ) {
    let piece = 1 << 18
    nonisolated(unsafe) let (target, narrow) = (target, kernels.rows(dtype).narrow)
    team.run(chunks: (count + piece - 1) / piece) { chunk in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: 1024) { wide in
        let end = min((chunk + 1) * piece, count)
        for first in stride(from: chunk * piece, to: end, by: 1024) {
          let part = UnsafeMutableBufferPointer(rebasing: wide[0..<min(1024, end - first)])
          generate(first, part)
          guard let base = part.baseAddress else { continue }
          narrow(target + first * dtype.size, base, part.count)
        }
      }
    }
  }
}
