package import CDejaVuCUDA
import Foundation

/// NVIDIA's cuBLASLt, found when the program runs: products of prompts and of training by tensor cores.
///
/// Without it the backend's own kernels multiply, in float32.
package struct ProductLibrary: @unchecked Sendable {
  // Safe to share: the functions are constant.
  let functions: dejavu_blaslt
  /// The file that was found.
  package let path: String

  /// A library whose functions are given.
  package init(functions: dejavu_blaslt, path: String) {
    (self.functions, self.path) = (functions, path)
  }

  /// Such as 13.2; the library's own counting.
  package var version: String {
    let number = functions.version?() ?? 0
    return "\(number / 10000).\(number / 100 % 100).\(number % 100)"
  }

  /// The variable that names the library's file; `off` does without it.
  package static let variable = "DEJAVU_CUBLASLT"

  /// Looks for the library: where `DEJAVU_CUBLASLT` says, or else under its usual names, beside the
  /// compiler that `DEJAVU_NVRTC` names, as NVIDIA's wheels lie, and where CUDA is installed.
  package static func find(
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> ProductLibrary? {
    for path in places(environment) {
      var functions = dejavu_blaslt()
      if dejavu_blaslt_load(path, &functions) == 1 {
        return ProductLibrary(functions: functions, path: path)
      }
    }
    return nil
  }

  /// Where the library is looked for, in this order.
  package static func places(_ environment: [String: String]) -> [String] {
    if let named = environment[variable], !named.isEmpty { return named == "off" ? [] : [named] }
    let names = ["libcublasLt.so.13", "libcublasLt.so.12"]
    var folders = [""]
    if let compiler = environment["DEJAVU_NVRTC"], let slash = compiler.lastIndex(of: "/") {
      let folder = compiler[...slash]
      folders += [String(folder), folder + "../../cublas/lib/"]
    }
    folders.append("/usr/local/cuda/lib64/")
    return folders.flatMap { folder in names.map { folder + $0 } }
  }

  /// What a user reads who has it, or not.
  package static func describe(
    _ library: ProductLibrary?,
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> String {
    if let library { return "cuBLASLt \(library.version)" }
    switch environment[variable] ?? "" {
    case "off": return "own kernels in float32, as \(variable)=off asks"
    case "":
      return
        "own kernels in float32: libcublasLt.so was not found; install cuBLAS of CUDA 12 or 13, "
        + "or name its file in \(variable)"
    case let named:
      return "own kernels in float32: '\(named)', which \(variable) names, is not cuBLASLt"
    }
  }
}
