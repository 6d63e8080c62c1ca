import DejaVuJSON
package import DejaVuModels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Scores that were computed before, in a file that grows by a line for every item or window: a run that
/// was stopped goes on where it was.
///
/// A line holds a digest of what was scored and how, and the scores of an item's choices or the sums of a
/// window. A last line without its end is what a stopped run leaves; it is cut off.
package final class ScoreJournal {
  private let path: String
  /// nil of a journal that is kept in memory only.
  private let descriptor: Int32?
  private var kept: [String: [ContinuationScore]] = [:]
  private var windows: [String: ComparedWindow] = [:]

  /// A journal in memory: what several parts of one run share.
  package init() { (path, descriptor) = ("", nil) }

  /// Opens a journal, or begins one.
  ///
  /// - Throws: ``TaskError`` for a file that is no journal, cannot be read or written, or is being
  ///   written by another run.
  package init(path: String) throws(TaskError) {
    self.path = path
    guard !path.utf8.contains(0) else {
      throw .unwritable(path: path, reason: "the path contains a NUL character")
    }
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw .unwritable(path: path, reason: Self.reason) }
    self.descriptor = descriptor
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw .journalInUse(path: path) }
    try load(try TaskFile.bytes(path), of: descriptor)
  }

  // The lock goes with the descriptor.
  deinit { if let descriptor { close(descriptor) } }

  /// How many items it holds.
  package var count: Int { kept.count }

  package subscript(key: String) -> [ContinuationScore]? { kept[key] }

  func window(_ key: String) -> ComparedWindow? { windows[key] }

  /// Adds the scores of an item; they are in the file when this returns.
  ///
  /// - Throws: ``TaskError/unwritable(path:reason:)``.
  package func append(_ scores: [ContinuationScore], for key: String) throws(TaskError) {
    let choices = scores.map {
      "{\"log_probability\":\($0.logProbability),\"greedy\":\($0.isGreedy),\"tokens\":\($0.tokens)}"
    }
    try add(key, "\"choices\":[\(choices.joined(separator: ","))]")
    kept[key] = scores
  }

  /// Adds a window; it is in the file when this returns.
  ///
  /// - Throws: ``TaskError/unwritable(path:reason:)``.
  func append(_ window: ComparedWindow, for key: String) throws(TaskError) {
    try add(key, "\"window\":[\(window.values.map { "\($0)" }.joined(separator: ","))]")
    windows[key] = window
  }

  private func add(_ key: String, _ member: String) throws(TaskError) {
    guard let descriptor else { return }
    var rest = Array("{\"key\":\"\(key)\",\(member)}\n".utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw .unwritable(path: path, reason: Self.reason) }
      rest = rest.dropFirst(count)
    }
  }

  private func load(_ bytes: [UInt8], of descriptor: Int32) throws(TaskError) {
    let end = bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    let lines = bytes[..<end].split(
      separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false
    ).dropLast()
    // A file without any line may be anything: only what begins as a line of ours is cut off.
    if end == 0, !bytes.isEmpty, !bytes.starts(with: Array("{\"key\":\"".utf8)) {
      throw .damagedJournal(path: path, line: 1)
    }
    for (index, line) in lines.enumerated() {
      guard let json = try? JSON.parse(line, limits: JSONLimits(depth: 4, values: 1 << 14)),
        let key = json["key"]?.text, take(json, for: key)
      else { throw .damagedJournal(path: path, line: index + 1) }
    }
    guard ftruncate(descriptor, off_t(end)) == 0, lseek(descriptor, 0, SEEK_END) >= 0 else {
      throw .unwritable(path: path, reason: Self.reason)
    }
  }

  /// - Returns: whether the line is one of ours.
  private func take(_ json: JSON, for key: String) -> Bool {
    if let values = json["window"]?.elements {
      let numbers = values.compactMap(\.double)
      guard numbers.count == values.count, let window = ComparedWindow(values: numbers) else {
        return false
      }
      windows[key] = window
      return true
    }
    guard let choices = json["choices"]?.elements else { return false }
    let scores = choices.compactMap(Self.score)
    guard scores.count == choices.count, !scores.isEmpty else { return false }
    kept[key] = scores
    return true
  }

  private static func score(_ json: JSON) -> ContinuationScore? {
    guard let value = json["log_probability"]?.double, value.isFinite,
      let isGreedy = json["greedy"]?.bool, let tokens = json["tokens"]?.integer, tokens > 0
    else { return nil }
    return ContinuationScore(logProbability: value, isGreedy: isGreedy, tokens: tokens)
  }

  private static var reason: String { String(cString: strerror(errno)) }
}
