import CDejaVuKernels
import DejaVuCore

extension DType {
  /// The kernels' number for this type.
  var code: Int32 {
    switch self {
    case .float32: Int32(DEJAVU_F32)
    case .float16: Int32(DEJAVU_F16)
    case .bfloat16: Int32(DEJAVU_BF16)
    }
  }
}

extension WeightFormat {
  /// The kernels' number for rows of this format: DEJAVU_CODED(...) for groupwise ones.
  var code: Int32 {
    switch self {
    case .plain(let dtype): dtype.code
    case .groupwise(let format): format.code
    case .scales(let format): preconditionFailure("\(format.name) holds no weights")
    }
  }
}

extension GroupwiseFormat {
  /// DEJAVU_CODED(...) for rows of this format.
  var code: Int32 { Int32(1 << 16 | bits << 3 | (group / 64) << 1 | (hasZeros ? 1 : 0)) }
}

extension RowMatrix {
  /// The scales that rows share, as kernels take them; none where they have their own.
  var scaleRows: dejavu_scale_rows { scales?.scaleRows ?? dejavu_scale_rows() }
}

extension ScaleRows {
  /// As kernels take them.
  var scaleRows: dejavu_scale_rows {
    dejavu_scale_rows(base: base, stride: rowBytes, group: format.rows)
  }
}

extension Activation {
  var code: Int32 {
    switch self {
    case .relu: Int32(DEJAVU_RELU)
    case .gelu: Int32(DEJAVU_GELU)
    case .geluTanh: Int32(DEJAVU_GELU_TANH)
    case .silu: Int32(DEJAVU_SILU)
    }
  }
}

extension UnsafePointer<dejavu_kernels> {
  /// One row of a matrix as floats, with zeros for its padding, whose codes mean nothing.
  func widen(_ row: Int, of matrix: RowMatrix, into out: UnsafeMutablePointer<Float>) {
    let (columns, padded) = (matrix.columns, matrix.paddedColumns)
    dejavu_widen_row(
      self, matrix.format.code, out, matrix.base + row * matrix.stride, padded,
      matrix.scaleRows, row)
    (out + columns).update(repeating: 0, count: padded - columns)
  }

  /// acc += Σ_r values[r] · matrix[first + r], in the arithmetic that `code` names.
  ///
  /// Where the matrix shares scales, `acc` has room for twice its padded columns.
  func add(
    _ count: Int, rowsOf matrix: RowMatrix, from first: Int, times values: UnsafePointer<Float>,
    to acc: UnsafeMutablePointer<Float>, code: Int32
  ) {
    dejavu_add_rows(
      self, code, acc, matrix.base + first * matrix.stride, matrix.stride, values,
      count, nil, 0, matrix.paddedColumns, matrix.paddedColumns, matrix.scaleRows, first)
  }

  /// The kernels over rows stored as `dtype`.
  func rows(_ dtype: DType) -> dejavu_row_kernels {
    switch dtype {
    case .float32: pointee.rows.0
    case .float16: pointee.rows.1
    case .bfloat16: pointee.rows.2
    }
  }
}
