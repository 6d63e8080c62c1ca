import DejaVuFormats
import Foundation

/// A folder that appears under its name only when everything in it is complete.
///
/// Files go to a temporary neighbour, which `commit` renames; an object that goes away without
/// `commit` takes the neighbour with it.
final class NewFolder {
  let path: String
  /// Where files are written until `commit`.
  let workPath: String
  private var isOpen = true

  /// - Throws: ``CheckpointError/unwritable(path:reason:)`` when something with this name exists
  ///   that is not an empty folder, or the neighbour cannot be made.
  init(path: String) throws(CheckpointError) {
    var path = path
    while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
    self.path = path
    workPath = path + ".partial-" + String(UInt64.random(in: 0...UInt64.max), radix: 16)
    guard !path.isEmpty, !path.utf8.contains(0) else {
      throw .unwritable(path: path, reason: "that is no name for a folder")
    }
    guard try Self.isFree(path) else {
      throw .unwritable(path: path, reason: "it is there already; name a new folder")
    }
    guard mkdir(workPath, 0o755) == 0 else { throw Self.failure(path) }
  }

  deinit { abandon() }

  /// Gives the folder its name.
  func commit() throws(CheckpointError) {
    guard rename(workPath, path) == 0 else { throw Self.failure(path) }
    isOpen = false
  }

  /// Deletes the neighbour; does nothing after `commit`.
  func abandon() {
    guard isOpen else { return }
    isOpen = false
    try? FileManager.default.removeItem(atPath: workPath)
  }

  /// Copies a small file of another folder, if it is there.
  ///
  /// - Returns: its size in bytes; 0 when there is none.
  @discardableResult
  func copy(_ name: String, from folder: String) throws(CheckpointError) -> Int {
    let source = folder + "/" + name
    guard FileSystem.exists(source) else { return 0 }
    let file = try MappedFile(path: source)
    try write(file.bytes, to: name)
    return file.bytes.count
  }

  func write(_ bytes: UnsafeRawBufferPointer, to name: String) throws(CheckpointError) {
    let file = try AtomicFile(path: workPath + "/" + name)
    try file.append(bytes)
    try file.commit()
  }

  private static func isFree(_ path: String) throws(CheckpointError) -> Bool {
    guard FileSystem.exists(path) else { return true }
    guard try FileSystem.isFolder(path) else { return false }
    return (try? FileManager.default.contentsOfDirectory(atPath: path))?.isEmpty ?? false
  }

  private static func failure(_ path: String) -> CheckpointError {
    .unwritable(path: path, reason: String(cString: strerror(errno)))
  }
}

extension NewFolder {
  /// What a model's folder holds beside its weights.
  static let companions = [
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "chat_template.jinja", "LICENSE", "quantize_config.json", "quant_config.json",
  ]

  /// Copies configuration and tokenizer.
  func copyCompanions(from folder: String) throws(CheckpointError) {
    for name in Self.companions { try copy(name, from: folder) }
  }
}
