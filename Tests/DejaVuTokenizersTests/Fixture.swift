import DejaVuJSON
import DejaVuTokenizers
import Foundation
import Testing

/// The files that the tests read.
enum Fixture {
  static let repository = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  static var folder: URL {
    get throws { try #require(Bundle.module.resourceURL).appendingPathComponent("Fixtures") }
  }

  static func json(_ name: String) throws -> JSON {
    try JSON.parse(Data(contentsOf: folder.appendingPathComponent(name)))
  }

  /// The folder of a tokenizer by its name: a model of the repository or a fixture.
  static func tokenizerFolder(_ name: String) throws -> URL {
    try name == "opt-16m"
      ? repository.appendingPathComponent("Models").appendingPathComponent(name)
      : folder.appendingPathComponent(name)
  }

  static func tokenizer(_ name: String) throws -> any Tokenizer {
    try loadTokenizer(folder: tokenizerFolder(name).path)
  }
}

extension JSON {
  func array(_ key: String) throws -> [JSON] { try #require(self[key]?.elements) }
  func string(_ key: String) throws -> [UInt8] { try #require(self[key]?.bytes?.bytes) }
  func number(_ key: String) throws -> Int { try #require(self[key]?.integer) }
  func ids(_ key: String) throws -> [TokenID] {
    try array(key).map { TokenID(try #require($0.integer)) }
  }
}

/// A folder that holds only the given files and goes away after the test.
func withFolder<Result>(
  _ files: [String: String], _ body: (URL) throws -> Result
) throws -> Result {
  let folder = FileManager.default.temporaryDirectory
    .appendingPathComponent("dejavu-tokenizer-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  for (name, content) in files {
    try Data(content.utf8).write(to: folder.appendingPathComponent(name))
  }
  return try body(folder)
}
