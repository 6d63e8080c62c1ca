package import CDejaVuKernels

/// The instruction sets that kernels exist for.
public enum InstructionSet: String, CaseIterable, Hashable, Sendable {
  case scalar, neon, avx2, avx512

  private var code: Int32 {
    switch self {
    case .scalar: Int32(DEJAVU_SCALAR)
    case .neon: Int32(DEJAVU_NEON)
    case .avx2: Int32(DEJAVU_AVX2)
    case .avx512: Int32(DEJAVU_AVX512)
    }
  }

  package var table: UnsafePointer<dejavu_kernels>? { dejavu_kernels_for(code) }

  /// Whether this machine (and this build) has the instructions.
  public var isAvailable: Bool { table != nil }

  /// Every instruction set this machine runs, slowest first.
  public static var available: [InstructionSet] { allCases.filter(\.isAvailable) }

  /// The fastest one of this machine.
  public static var best: InstructionSet { available.last ?? .scalar }

  /// Whether prompts can be multiplied in bfloat16.
  public var multipliesBFloat16: Bool { table?.pointee.rows.0.gemm_bf16 != nil }
}
