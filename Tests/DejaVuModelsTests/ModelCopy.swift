import Foundation

/// A throw-away model folder: another one's files by links, some replaced.
final class ModelCopy {
  let path: String

  /// - Parameters:
  ///   - folder: the original.
  ///   - without: names that are left out.
  ///   - files: contents by name; they replace the original's.
  /// - Throws: what Foundation throws when a file cannot be made.
  init(of folder: String, without: Set<String> = [], files: [String: String] = [:]) throws {
    path = FileManager.default.temporaryDirectory.path + "/dejavu-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    for name in try FileManager.default.contentsOfDirectory(atPath: folder)
    where files[name] == nil && !without.contains(name) {
      try FileManager.default.createSymbolicLink(
        atPath: "\(path)/\(name)", withDestinationPath: "\(folder)/\(name)")
    }
    for (name, text) in files {
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
    }
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
