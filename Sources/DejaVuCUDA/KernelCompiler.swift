import CDejaVuCUDA
package import DejaVuCore

/// What kernels are compiled for: a card's architecture and the sizes that are fixed in them.
package struct KernelOptions: Hashable, Sendable {
  /// Compute capability in tenths: 80, 89, 90.
  package var capability: Int
  /// What keys and values are stored in.
  package var cacheType: DType
  /// Lanes of a head in the cache, padding included.
  package var paddedHead: Int
  /// Groups of weights in codes; nil leaves their kernels out.
  package var groups: CodeGroups?

  package init(capability: Int, cacheType: DType, paddedHead: Int, groups: CodeGroups? = nil) {
    self.capability = capability
    self.cacheType = cacheType
    self.paddedHead = paddedHead
    self.groups = groups
  }

  /// Pieces in which eight lanes of a warp read a head together, 16 bytes each.
  package var headChunks: Int {
    let step = 8 * 16 / cacheType.size
    return (paddedHead + step - 1) / step
  }

  /// The compiler's arguments.
  package var arguments: [String] {
    let cache =
      switch cacheType {
      case .float32: "float"
      case .float16: "f16"
      case .bfloat16: "bf16"
      }
    let codes = groups.map {
      ["-DCODE_GROUP=\($0.size)", "-DCODE_ZEROS=\($0.haveZeros ? 1 : 0)"]
    }
    return [
      "--gpu-architecture=sm_\(capability)", "--std=c++17", "--ptxas-options=-v",
      "-DHEAD_CHUNKS=\(headChunks)", "-DCACHE=\(cache)",
    ] + (codes ?? [])
  }
}

/// Kernels in a card's machine code.
package struct CompiledKernels: Sendable {
  package let cubin: [UInt8]
  /// What the compiler said, its report on every kernel included.
  package let log: String

  package var reports: [KernelReport] { KernelReport.read(log) }
}

/// NVIDIA's run-time compiler, found when the program runs; it needs no card.
package final class KernelCompiler: @unchecked Sendable {
  // Safe to share: the functions are constant, and NVRTC may be called from several threads.
  private let functions: dejavu_nvrtc

  /// - Parameter library: the compiler's file; nil looks for it under its usual names.
  /// - Throws: ``BackendError/unavailable(backend:reason:)`` where there is none.
  package init(library: String? = nil) throws(BackendError) {
    var functions = dejavu_nvrtc()
    guard dejavu_nvrtc_load(library, &functions) == 1 else {
      throw .unavailable(
        backend: "CUDA",
        reason: "NVIDIA's run-time compiler was not found as '\(library ?? "libnvrtc.so")'; "
          + "install CUDA 12 or 13")
    }
    self.functions = functions
  }

  /// The compiler's version, such as 13.2.
  package var version: String {
    var (major, minor): (Int32, Int32) = (0, 0)
    _ = functions.version?(&major, &minor)
    return "\(major).\(minor)"
  }

  /// Compiles every kernel of this program.
  ///
  /// - Throws: ``BackendError/unavailable(backend:reason:)`` with the compiler's words.
  package func compile(_ options: KernelOptions) throws(BackendError) -> CompiledKernels {
    var program: dejavu_nvrtc_program?
    guard functions.create?(&program, dejavu_cuda_source(), "dejavu.cu", 0, nil, nil) == 0,
      let made = program
    else { throw .unavailable(backend: "CUDA", reason: "the compiler takes no program") }
    defer { _ = functions.destroy?(&program) }
    let arguments = options.arguments
    let status = withCStrings(arguments) { functions.compile?(made, Int32(arguments.count), $0) }
    let log = String(
      decoding: bytes(of: made, functions.log_size, functions.log).prefix { $0 != 0 },
      as: UTF8.self)
    guard status == 0 else {
      throw .unavailable(
        backend: "CUDA",
        reason: "kernels do not compile for sm_\(options.capability): \(log.prefix(2000))")
    }
    let cubin = bytes(of: made, functions.cubin_size, functions.cubin)
    guard !cubin.isEmpty else {
      throw .unavailable(
        backend: "CUDA", reason: "the compiler gave no machine code for sm_\(options.capability)")
    }
    return CompiledKernels(cubin: cubin, log: log)
  }

  private func bytes(
    of program: dejavu_nvrtc_program,
    _ size: (@convention(c) (dejavu_nvrtc_program, UnsafeMutablePointer<Int>) -> Int32)?,
    _ copy: (@convention(c) (dejavu_nvrtc_program, UnsafeMutablePointer<CChar>) -> Int32)?
  ) -> [UInt8] {
    var count = 0
    guard size?(program, &count) == 0, count > 0 else { return [] }
    var text = [CChar](repeating: 0, count: count)
    guard copy?(program, &text) == 0 else { return [] }
    return text.map { UInt8(bitPattern: $0) }
  }

  /// The texts as C has them, for the time of a call.
  private func withCStrings<Result>(
    _ texts: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
  ) -> Result {
    let flat = texts.flatMap { Array($0.utf8CString) }
    return flat.withUnsafeBufferPointer { flat in
      var pointers: [UnsafePointer<CChar>?] = []
      var start = 0
      for text in texts {
        pointers.append(flat.baseAddress.map { $0 + start })
        start += text.utf8.count + 1
      }
      return pointers.withUnsafeBufferPointer { pointers in
        guard let base = pointers.baseAddress else { preconditionFailure("there are options") }
        return body(base)
      }
    }
  }
}
