import Foundation

/// Input that a command reads whole.
enum InputFile {
  /// A read that the system refused, by its error number.
  struct Failure: Error {
    let code: Int32

    var reason: String { String(cString: strerror(code)) }
  }

  /// The bytes of a file or a pipe; `-` is standard input.
  ///
  /// - Throws: ``CommandError/unreadable(path:code:)`` for a file, and
  ///   ``CommandError/stream(name:reason:)`` for standard input.
  static func read(_ path: String) throws(CommandError) -> [UInt8] {
    guard path != "-" else {
      do { return try bytes(of: STDIN_FILENO) } catch { throw .standardInput(error) }
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .unreadable(path: path, code: errno) }
    defer { close(descriptor) }
    do { return try bytes(of: descriptor) } catch {
      throw .unreadable(path: path, code: error.code)
    }
  }

  /// Reads to the end, or until there are more than `limit` bytes.
  static func bytes(of descriptor: Int32, limit: Int = .max) throws(Failure) -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count <= limit {
      let count = Foundation.read(descriptor, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw Failure(code: errno) }
      guard count > 0 else { break }
      bytes += buffer[..<count]
    }
    return bytes
  }
}

extension CommandError {
  /// Standard input that cannot be read.
  static func standardInput(_ failure: InputFile.Failure) -> CommandError {
    .stream(name: "cannot read standard input", reason: failure.reason)
  }
}
