#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Questions about paths; opening them is ``MappedFile``'s business.
package enum FileSystem {
  /// Whether anything has this name, be it a link that leads nowhere.
  package static func exists(_ path: String) -> Bool {
    var status = stat()
    return !path.utf8.contains(0) && lstat(path, &status) == 0
  }

  /// Takes a file's name away, if it has one.
  package static func remove(_ path: String) {
    guard !path.utf8.contains(0) else { return }
    unlink(path)
  }

  /// Whether `path` is a folder.
  ///
  /// - Throws: ``CheckpointError/unreadable(path:reason:)`` when nothing is there.
  package static func isFolder(_ path: String) throws(CheckpointError) -> Bool {
    guard !path.utf8.contains(0) else {
      throw .unreadable(path: path, reason: "the path contains a NUL character")
    }
    var status = stat()
    guard stat(path, &status) == 0 else {
      throw .unreadable(path: path, reason: systemMessage(errno))
    }
    return status.st_mode & S_IFMT == S_IFDIR
  }

  /// Looks whether `path` can be the folder of a model.
  ///
  /// - Throws: ``CheckpointError/unreadable(path:reason:)`` when nothing is there, or no folder.
  package static func requireFolder(_ path: String) throws(CheckpointError) {
    guard try isFolder(path) else {
      throw .unreadable(
        path: path, reason: "it is not a folder; name the folder that holds the model's files")
    }
  }

  /// Size of a file in bytes; nil when nothing is there.
  package static func byteCount(of path: String) -> Int? {
    var status = stat()
    guard !path.utf8.contains(0), stat(path, &status) == 0 else { return nil }
    return Int(status.st_size)
  }

  /// Bytes that may still be written to the file system that holds `folder`; nil where it does
  /// not say.
  package static func freeBytes(in folder: String) -> Int? {
    var status = statvfs()
    guard !folder.utf8.contains(0), statvfs(folder, &status) == 0 else { return nil }
    let (bytes, overflow) = Int(status.f_bavail).multipliedReportingOverflow(
      by: Int(status.f_frsize))
    return overflow ? nil : bytes
  }
}

/// The system's sentence for an error number.
func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)) }
