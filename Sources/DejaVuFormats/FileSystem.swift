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
}

/// The system's sentence for an error number.
func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)) }
