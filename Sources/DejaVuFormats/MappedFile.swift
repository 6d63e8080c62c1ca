#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A regular file mapped read-only for as long as this object lives.
///
/// The mapping is private and never written. A file that another process truncates while it is
/// mapped ends the process on the next touch of a lost page (SIGBUS); replacing the file by rename
/// or deleting it is harmless.
public final class MappedFile: @unchecked Sendable {
  // Safe to share: the pages are read-only and the fields are constants.
  /// The path as it was given, for messages.
  public let path: String
  /// The whole file.
  ///
  /// Valid only while something holds this object, which Swift may let go after its last use;
  /// `withBytes` holds it.
  public let bytes: UnsafeRawBufferPointer

  /// Maps `path`.
  ///
  /// - Throws: ``CheckpointError/unreadable(path:reason:)`` when `path` is not a readable regular
  ///   file; a FIFO or device is refused without blocking.
  public init(path: String) throws(CheckpointError) {
    self.path = path
    guard !path.utf8.contains(0) else {
      throw .unreadable(path: path, reason: "the path contains a NUL character")
    }
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .unreadable(path: path, reason: systemMessage(errno)) }
    defer { close(descriptor) }
    let count = try Self.size(of: descriptor, path: path)
    guard count > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let base = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED
    else {
      throw .unreadable(path: path, reason: systemMessage(errno))
    }
    bytes = UnsafeRawBufferPointer(start: base, count: count)
    // A file cut between the two calls would end the process at the first touch of a lost page.
    guard try Self.size(of: descriptor, path: path) == count else {
      throw .unreadable(path: path, reason: "its size changed while it was being opened")
    }
  }

  /// Size in bytes of an open regular file.
  private static func size(of descriptor: Int32, path: String) throws(CheckpointError) -> Int {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw .unreadable(path: path, reason: systemMessage(errno))
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return Int(status.st_size)
    case S_IFDIR: throw .unreadable(path: path, reason: "it is a directory")
    default: throw .unreadable(path: path, reason: "it is not a regular file")
    }
  }

  deinit {
    if let base = bytes.baseAddress {
      munmap(UnsafeMutableRawPointer(mutating: base), bytes.count)
    }
  }

  /// Calls `body` with the whole file, which stays mapped until it returns.
  public func withBytes<Result, Failure>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { withExtendedLifetime(self) {} }
    return try body(bytes)
  }

  /// Gives the pages that lie wholly inside `range` back to the system.
  ///
  /// They are read again from the file when next touched. Keeps resident memory at one copy of the
  /// weights while packing.
  public func discard(_ range: Range<Int>) {
    guard let base = bytes.baseAddress else { return }
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let start = (range.lowerBound + page - 1) / page * page
    let end = range.upperBound / page * page
    guard start < end else { return }
    madvise(UnsafeMutableRawPointer(mutating: base + start), end - start, MADV_DONTNEED)
  }
}
