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
  /// The kernels over rows stored as `dtype`.
  func rows(_ dtype: DType) -> dejavu_row_kernels {
    switch dtype {
    case .float32: pointee.rows.0
    case .float16: pointee.rows.1
    case .bfloat16: pointee.rows.2
    }
  }
}
