import Foundation
import Testing

/// Runs the built `dejavu` as a user would, without a terminal.
struct Program {
  struct Result {
    let status: Int32
    let output: String
    let errors: String
  }

  /// The executable lies beside the test bundle, in the same build folder.
  static let path = Bundle.module.bundleURL.deletingLastPathComponent()
    .appendingPathComponent("dejavu").path

  /// The model of a run that names none: the small one, which is quick.
  static let model = Repository.root.appendingPathComponent("Models/opt-16m").path

  /// Greedy and on one thread: the text depends on nothing but the weights.
  static let greedy = ["--temperature", "0", "--threads", "1"]

  private let process = Process()
  private let files = TemporaryFolder()

  /// Starts the program.
  ///
  /// - Parameters:
  ///   - arguments: what stands behind its name.
  ///   - input: what it reads on standard input; nothing by default.
  ///   - environment: added to a bare one, without `HOME`, in the locale `C` and with the small model
  ///     for the default one.
  ///   - output: a file that takes standard output instead of being caught.
  /// - Throws: what Foundation throws when the program is not there.
  init(
    _ arguments: [String], input: [UInt8] = [], environment: [String: String] = [:],
    output: String? = nil
  ) throws {
    process.executableURL = URL(fileURLWithPath: Self.path)
    process.arguments = arguments
    process.environment = [
      "PATH": "/usr/bin:/bin", "LANG": "C", "COLUMNS": "80", "DEJAVU_MODEL": Self.model,
    ].merging(environment) { $1 }
    try Data(input).write(to: files.url("input"))
    for name in ["output", "errors"] { try Data().write(to: files.url(name)) }
    process.standardInput = try FileHandle(forReadingFrom: files.url("input"))
    process.standardOutput = try FileHandle(
      forWritingTo: output.map { URL(fileURLWithPath: $0) } ?? files.url("output"))
    process.standardError = try FileHandle(forWritingTo: files.url("errors"))
    try process.run()
  }

  /// Sends Ctrl-C.
  func interrupt() { process.interrupt() }

  /// What has come out so far.
  var output: String { files.text("output") }

  func wait() -> Result {
    process.waitUntilExit()
    return Result(
      status: process.terminationStatus, output: files.text("output"),
      errors: files.text("errors"))
  }

  static func run(
    _ arguments: [String], input: [UInt8] = [], environment: [String: String] = [:],
    output: String? = nil
  ) throws -> Result {
    try Program(arguments, input: input, environment: environment, output: output).wait()
  }

  static func run(_ arguments: String...) throws -> Result { try run(arguments) }
}

/// A folder that goes away with its owner.
final class TemporaryFolder {
  private let root: URL

  init() {
    root = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-\(UUID().uuidString)")
    try? FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: root) }

  func url(_ name: String) -> URL { root.appendingPathComponent(name) }
  func path(_ name: String) -> String { url(name).path }
  func text(_ name: String) -> String {
    (try? Data(contentsOf: url(name))).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }
  var names: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []).sorted()
  }
}

/// The one JSON object that `text` is.
func parsedObject(_ text: String) throws -> [String: Any] {
  let value = try JSONSerialization.jsonObject(with: Data(text.utf8))
  return try #require(value as? [String: Any])
}

/// Files of the repository, found from this file.
enum Repository {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  static func text(_ path: String) throws -> String {
    try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }
}
