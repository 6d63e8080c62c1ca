#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Unpacks gzip files with the system's zlib, which is looked for when it is first needed.
package struct GzipReader {
  private typealias Open = @convention(c) (Int32, UnsafePointer<CChar>) -> OpaquePointer?
  private typealias Read = @convention(c) (OpaquePointer, UnsafeMutableRawPointer, UInt32) -> Int32
  private typealias Message =
    @convention(c) (OpaquePointer, UnsafeMutablePointer<Int32>) -> UnsafePointer<CChar>?
  private typealias Close = @convention(c) (OpaquePointer) -> Int32

  private let gzdopen: Open
  private let gzread: Read
  private let gzerror: Message
  private let gzclose: Close

  private static let names = ["libz.so.1", "libz.so", "libz.1.dylib", "libz.dylib"]

  /// - Throws: ``GzipError/noLibrary(tried:)``.
  package init() throws(GzipError) {
    // Never closed: what was taken from it may be used as long as the program runs.
    guard let library = Self.names.lazy.compactMap({ dlopen($0, RTLD_NOW | RTLD_LOCAL) }).first,
      let open = dlsym(library, "gzdopen"), let read = dlsym(library, "gzread"),
      let error = dlsym(library, "gzerror"), let close = dlsym(library, "gzclose")
    else { throw .noLibrary(tried: Self.names) }
    gzdopen = unsafeBitCast(open, to: Open.self)
    gzread = unsafeBitCast(read, to: Read.self)
    gzerror = unsafeBitCast(error, to: Message.self)
    gzclose = unsafeBitCast(close, to: Close.self)
  }

  /// Unpacks all members of a file that is open for reading.
  ///
  /// - Parameters:
  ///   - descriptor: where the file begins; closed in every case.
  ///   - limit: the greatest number of bytes that may come out.
  /// - Returns: what was packed.
  /// - Throws: ``GzipError``.
  package func bytes(of descriptor: Int32, limit: Int) throws(GzipError) -> [UInt8] {
    guard let file = gzdopen(descriptor, "rb") else {
      close(descriptor)
      throw .noMemory
    }
    defer { _ = gzclose(file) }
    var (bytes, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 1 << 18))
    while true {
      let count = buffer.withUnsafeMutableBytes { room in
        room.baseAddress.map { gzread(file, $0, UInt32(room.count)) } ?? 0
      }
      guard count >= 0 else { throw .damaged(reason(file) ?? "unknown") }
      guard count > 0 else { break }
      bytes += buffer[..<Int(count)]
      guard bytes.count <= limit else { throw .tooLarge(limit: limit) }
    }
    // A file that was cut off ends without a word from gzread.
    if let reason = reason(file) { throw .damaged(reason) }
    return bytes
  }

  private func reason(_ file: OpaquePointer) -> String? {
    var code: Int32 = 0
    let text = gzerror(file, &code)
    // 0 is Z_OK, 1 Z_STREAM_END.
    guard code != 0 && code != 1 else { return nil }
    return text.map { String(cString: $0) } ?? "error \(code)"
  }
}

/// Why a gzip file could not be unpacked.
@nonexhaustive
package enum GzipError: Error, Hashable, Sendable {
  /// zlib is not installed.
  case noLibrary(tried: [String])
  /// zlib had no memory for its state.
  case noMemory
  /// The file is no gzip file, or damaged, or cut off; zlib's words.
  case damaged(String)
  /// More comes out than may.
  case tooLarge(limit: Int)
}

extension GzipError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .noLibrary(let tried):
      "zlib was not found as \(tried.joined(separator: ", ")); install it, or unpack with 'gzip -d'"
    case .noMemory: "zlib had no memory for its state; unpack with 'gzip -d'"
    case .damaged(let reason): "it is damaged or no gzip file (\(reason)); fetch it anew"
    case .tooLarge(let limit): "more than \(limit) bytes come out of it; cut it into parts"
    }
  }
}
