package import CDejaVuKernels
package import DejaVuCore

/// Products of float matrices and a few loops on a thread team: what training needs.
///
/// Every sum has an order of its own that does not depend on the number of threads.
package final class DenseArithmetic {
  private let team: ThreadTeam
  private let kernels: UnsafePointer<dejavu_kernels>
  private var packed: CPUBuffer
  private var packedRows = 0
  private var packedColumns = 0
  private var packedBlocks = CPUBuffer(capacity: 0, width: 0)
  private let panels: CPUBuffer
  /// Whether operands are rounded to bfloat16; sums are float32 all the same.
  package let roundsToBFloat16: Bool

  /// - Parameters:
  ///   - team: the threads that share the work.
  ///   - kernels: those of an instruction set of this processor.
  ///   - roundsToBFloat16: whether to round operands where the processor multiplies them so, which
  ///     takes half the time.
  package init(
    team: ThreadTeam, kernels: UnsafePointer<dejavu_kernels>, roundsToBFloat16: Bool = false
  ) {
    self.team = team
    self.kernels = kernels
    self.roundsToBFloat16 = roundsToBFloat16 && kernels.rows(.float32).gemm_bf16 != nil
    packed = CPUBuffer(capacity: 0, width: 0)
    panels = CPUBuffer(capacity: team.count, width: dejavu_gemm_scratch() / 4)
  }

  /// Makes A `[rows, columns]` the left operand of the products that follow.
  package func pack(_ a: UnsafePointer<Float>, stride: Int, rows: Int, columns: Int) {
    let width = dejavu_packed_a_bytes(kernels, rows, columns) / 4
    if width > packed.stride { packed = CPUBuffer(capacity: 1, width: width) }
    dejavu_pack_tokens(
      team.handle, kernels, roundsToBFloat16 ? 1 : 0, packed.base, a, stride, rows, columns)
    (packedRows, packedColumns) = (rows, columns)
  }

  /// C[t, n] = A[t] · B[n], B being `[count, columns of A]`.
  package func multiply(
    rows b: UnsafePointer<Float>, count: Int, stride: Int, into c: UnsafeMutablePointer<Float>,
    stride cStride: Int
  ) {
    product(b, stride: stride, byRows: 1, columns: count, into: c, stride: cStride)
  }

  /// C[t, n] = Σ_k A[t, k] · B[k, n], B being `[columns of A, count]`.
  package func multiply(
    columns b: UnsafePointer<Float>, count: Int, stride: Int, into c: UnsafeMutablePointer<Float>,
    stride cStride: Int
  ) {
    product(b, stride: stride, byRows: 0, columns: count, into: c, stride: cStride)
  }

  private func product(
    _ b: UnsafePointer<Float>, stride: Int, byRows: Int32, columns: Int,
    into c: UnsafeMutablePointer<Float>, stride cStride: Int
  ) {
    var job = dejavu_gemm_job(
      packed_a: packed.base, tokens: packedRows, k: packedColumns, b: b, b_stride: stride * 4,
      scales: dejavu_scale_rows(), by_rows: byRows, accumulates: 0, c: c, c_stride: cStride,
      epilogue: nil)
    dejavu_product(
      team.handle, kernels, DType.float32.code, roundsToBFloat16 ? 1 : 0, &job, columns,
      panels.base)
  }

  /// C[t, block] = A[t, block] · B[block]ᵀ for blocks of so many columns, B being
  /// `[blocks][columns, columns]`; all at once, since a small product alone keeps few threads busy.
  package func multiply(
    blocks: Int, columns: Int, _ a: UnsafePointer<Float>, stride: Int, rows: Int,
    by b: CPUBuffer, into c: CPUBuffer
  ) {
    let width = dejavu_packed_a_bytes(kernels, rows, columns) / 4
    if width > packedBlocks.stride || blocks > packedBlocks.capacity {
      packedBlocks = CPUBuffer(capacity: blocks, width: width)
    }
    let jobs = (0..<blocks).map { block in
      dejavu_pack_tokens(
        team.handle, kernels, roundsToBFloat16 ? 1 : 0, packedBlocks.row(block),
        a + block * columns, stride, rows, columns)
      return dejavu_gemm_job(
        packed_a: packedBlocks.row(block), tokens: rows, k: columns, b: b.row(block * columns),
        b_stride: b.stride * 4, scales: dejavu_scale_rows(), by_rows: 1, accumulates: 0,
        c: c.base + block * columns, c_stride: c.stride, epilogue: nil)
    }
    dejavu_products(
      team.handle, kernels, DType.float32.code, roundsToBFloat16 ? 1 : 0, jobs, blocks, columns,
      panels.base)
  }

  /// Runs `body` for every chunk on the team's threads.
  package func run(chunks: Int, _ body: @Sendable (Int) -> Void) {
    team.run(chunks: chunks, body)
  }

  /// The loops over one row, to be called from any thread.
  package var loops: RowLoops { RowLoops(kernels: kernels) }
}

/// Loops over one row of numbers.
package struct RowLoops: @unchecked Sendable {
  // Safe to share: a table of functions without state.
  let kernels: UnsafePointer<dejavu_kernels>

  /// x[i] = e^x[i].
  package func exponentiate(_ x: UnsafeMutablePointer<Float>, count: Int) {
    _ = kernels.pointee.exponentiate(x, count, 0)
  }

  /// out = x / √(mean(x²) + ε); lanes past `count` become 0.
  package func normalize(
    _ x: UnsafePointer<Float>, count: Int, padded: Int, into out: UnsafeMutablePointer<Float>
  ) {
    kernels.pointee.rms_norm(out, x, nil, 1e-6, count, padded)
  }

  package func widen(
    _ from: UnsafeRawPointer, _ dtype: DType, count: Int, into out: UnsafeMutablePointer<Float>
  ) {
    kernels.rows(dtype).widen(out, from, count)
  }

  /// One row of a matrix, padding included.
  package func widen(_ row: Int, of matrix: RowMatrix, into out: UnsafeMutablePointer<Float>) {
    kernels.widen(row, of: matrix, into: out)
  }

  package func narrow(
    _ from: UnsafePointer<Float>, _ dtype: DType, count: Int, into out: UnsafeMutableRawPointer
  ) {
    kernels.rows(dtype).narrow(out, from, count)
  }
}

/// Groupwise rows made from floats, and back.
package enum GroupwiseRows {
  /// Rounds `columns` floats, a multiple of 64, to one row of a ``GroupwiseMatrix``.
  package static func quantize(
    _ row: UnsafePointer<Float>, columns: Int, bits: Int, into out: UnsafeMutableRawPointer
  ) {
    dejavu_quantize_row(out, row, columns, Int32(bits))
  }

  /// The floats that one row stands for.
  package static func dequantize(
    _ row: UnsafeRawPointer, columns: Int, bits: Int, into out: UnsafeMutablePointer<Float>
  ) {
    guard let kernels = InstructionSet.scalar.table else { preconditionFailure("no plain kernels") }
    let code = GroupwiseMatrix.format(bits: bits).code
    kernels.pointee.coded_widen(out, row, 0, columns, columns, code, nil)
  }
}
