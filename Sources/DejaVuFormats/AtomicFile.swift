#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A file that appears under its name only when it is complete and on the disk.
///
/// The bytes go to a temporary neighbour, which `commit` flushes and renames. An object that goes
/// away without `commit` takes its temporary file with it.
package final class AtomicFile {
  package let path: String
  private let temporary: String
  private var descriptor: Int32
  private var buffer: [UInt8] = []
  private static let bufferBytes = 1 << 20

  /// Creates the temporary neighbour of `path`.
  ///
  /// - Throws: ``CheckpointError/unwritable(path:reason:)`` when the folder does not allow it.
  package init(path: String) throws(CheckpointError) {
    self.path = path
    temporary = path + ".partial-" + String(UInt64.random(in: 0...UInt64.max), radix: 16)
    guard !path.utf8.contains(0) else {
      throw .unwritable(path: path, reason: "the path contains a NUL character")
    }
    descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw .unwritable(path: path, reason: systemMessage(errno)) }
  }

  deinit { abandon() }

  /// Appends bytes; small pieces are gathered.
  ///
  /// - Throws: ``CheckpointError/unwritable(path:reason:)``; the temporary file is gone then.
  package func append(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    guard descriptor >= 0 else {
      throw .unwritable(path: path, reason: "writing was already finished or given up")
    }
    if buffer.count + bytes.count <= Self.bufferBytes {
      buffer.append(contentsOf: bytes)
      return
    }
    try flush()
    try writeAll(bytes)
  }

  /// Flushes to the disk and gives the file its name, replacing one that has it.
  ///
  /// - Throws: ``CheckpointError/unwritable(path:reason:)``; what had the name still has it then,
  ///   unless only the folder's own entry could not be flushed.
  package func commit() throws(CheckpointError) {
    try flush()
    guard fsync(descriptor) == 0 else { throw failure() }
    guard close(forget()) == 0 else { throw removing(failure(errno)) }
    guard rename(temporary, path) == 0 else { throw removing(failure(errno)) }
    try flushFolder()
  }

  /// Deletes the temporary file; does nothing after `commit`.
  package func abandon() {
    guard descriptor >= 0 else { return }
    close(forget())
    unlink(temporary)
  }

  private func forget() -> Int32 {
    defer { descriptor = -1 }
    return descriptor
  }

  private func flush() throws(CheckpointError) {
    guard descriptor >= 0 else {
      throw .unwritable(path: path, reason: "writing was already finished or given up")
    }
    let pending = buffer
    buffer.removeAll(keepingCapacity: true)
    try pending.withUnsafeBufferPointer { bytes throws(CheckpointError) in
      try writeAll(UnsafeRawBufferPointer(bytes))
    }
  }

  private func writeAll(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = UnsafeRawBufferPointer(rebasing: rest)
      // Linux writes at most 2 GiB in one call; the loop takes whatever was written.
      let count = write(descriptor, part.baseAddress, part.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw failure() }
      rest = rest.dropFirst(count)
    }
  }

  private func flushFolder() throws(CheckpointError) {
    let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    let folder = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard handle >= 0 else { return }  // a folder may be writable yet not readable
    defer { close(handle) }
    // File systems that cannot flush a folder say EINVAL; nothing more can be done there.
    guard fsync(handle) == 0 || errno == EINVAL else {
      throw .unwritable(path: folder, reason: systemMessage(errno))
    }
  }

  /// The error for `errno`, after deleting the temporary file.
  private func failure(_ code: Int32? = nil) -> CheckpointError {
    let reason = systemMessage(code ?? errno)
    abandon()
    return .unwritable(path: path, reason: reason)
  }

  private func removing(_ error: CheckpointError) -> CheckpointError {
    unlink(temporary)
    return error
  }
}
