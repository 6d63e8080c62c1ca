import CDejaVuCUDA
package import DejaVuCore
import DejaVuFormats
import Foundation

/// Compiles kernels on first use and keeps the machine code.
///
/// Files lie in `dejavu/kernels` under `XDG_CACHE_HOME` (`~/.cache` without it), named by a hash of
/// the kernels' text, the compiler's version and its options; each begins with a hash of what
/// follows. One that cannot be read, or is damaged, is compiled again.
package struct KernelStore {
  private let folder: String?
  private let library: String?

  /// - Parameter environment: `DEJAVU_NVRTC` names the compiler's file where it is not installed
  ///   under its usual name.
  package init(environment: [String: String] = ProcessInfo.processInfo.environment) {
    let base =
      environment["XDG_CACHE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
      ?? environment["HOME"].flatMap { $0.isEmpty ? nil : $0 + "/.cache" }
    folder = base.map { $0 + "/dejavu/kernels" }
    library = environment["DEJAVU_NVRTC"].flatMap { $0.isEmpty ? nil : $0 }
  }

  /// The kernels for a card, ready to be launched.
  ///
  /// - Throws: ``BackendError/unavailable(backend:reason:)`` without a compiler, or where the card
  ///   does not take what it made.
  package func module(
    for options: KernelOptions, on device: CUDADevice
  ) throws(BackendError) -> KernelModule {
    let compiler = try KernelCompiler(library: library)
    let path = folder.map { $0 + "/" + key(options, compiler) + ".cubin" }
    if let path, let image = read(path), let module = try? load(image, options, on: device) {
      return module
    }
    let image = try compiler.compile(options).cubin
    let module = try load(image, options, on: device)
    if let path { keep(image, at: path) }
    return module
  }

  private func load(
    _ image: [UInt8], _ options: KernelOptions, on device: CUDADevice
  ) throws(BackendError) -> KernelModule {
    var failure: BackendError?
    let module = image.withUnsafeBytes { bytes -> KernelModule? in
      guard let base = bytes.baseAddress else { return nil }
      do throws(BackendError) {
        return try KernelModule(device, image: base, hasCodes: options.groups != nil)
      } catch {
        failure = error
        return nil
      }
    }
    if let failure { throw failure }
    guard let module else { throw CUDADevice.unavailable("there is no machine code to load") }
    return module
  }

  private func key(_ options: KernelOptions, _ compiler: KernelCompiler) -> String {
    var digest = SHA256()
    digest.update(String(cString: dejavu_cuda_source()).utf8)
    digest.update("\(compiler.version) \(options.arguments)".utf8)
    return digest.hexDigest()
  }

  private func read(_ path: String) -> [UInt8]? {
    guard let data = FileManager.default.contents(atPath: path), data.count > 64 else { return nil }
    let image = Array(data.dropFirst(64))
    return Self.checksum(image) == Array(data.prefix(64)) ? image : nil
  }

  private func keep(_ image: [UInt8], at path: String) {
    try? FileManager.default.createDirectory(
      atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    guard let file = try? AtomicFile(path: path) else { return }
    let bytes = Self.checksum(image) + image
    try? bytes.withUnsafeBytes { try file.append($0) }
    try? file.commit()
  }

  private static func checksum(_ image: [UInt8]) -> [UInt8] {
    var digest = SHA256()
    digest.update(image)
    return Array(digest.hexDigest().utf8)
  }
}
