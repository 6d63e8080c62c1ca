import CDejaVuKernels
import DejaVuCPU
import DejaVuCore
import DejaVuTestSupport
import Testing

extension InstructionSet {
  func kernels() throws -> dejavu_kernels { try #require(table).pointee }

  func rows(_ dtype: DType) throws -> dejavu_row_kernels {
    let rows = try kernels().rows
    return switch dtype {
    case .float32: rows.0
    case .float16: rows.1
    case .bfloat16: rows.2
    }
  }
}

/// Float vectors with NaN behind each, so that a kernel which reads too far shows it.
struct Vectors {
  var storage: [Float]
  let stride: Int
  let width: Int

  init(_ count: Int, width: Int, gap: Int = 16, scale: Float = 1, random: inout SeededRandom) {
    stride = width + gap
    self.width = width
    storage = []
    for _ in 0..<count {
      storage += random.units(width).map { $0 * scale }
      storage += Array(repeating: .nan, count: gap)
    }
  }

  subscript(index: Int) -> [Double] {
    storage[index * stride..<index * stride + width].map { Double($0) }
  }
}

/// `count` values that no kernel may leave behind.
func stale(_ count: Int) -> [Float] { Array(repeating: .nan, count: count) }

func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
func magnitude(_ a: [Double], _ b: [Double]) -> Double {
  zip(a, b).reduce(0) { $0 + abs($1.0 * $1.1) }
}

extension Activation {
  static let all: [Activation] = [.relu, .gelu, .geluTanh, .silu]

  var kernelCode: Int32 {
    switch self {
    case .relu: Int32(DEJAVU_RELU)
    case .gelu: Int32(DEJAVU_GELU)
    case .geluTanh: Int32(DEJAVU_GELU_TANH)
    case .silu: Int32(DEJAVU_SILU)
    }
  }
}
