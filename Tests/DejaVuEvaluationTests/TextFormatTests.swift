import DejaVuEvaluation
import DejaVuFormats
import Foundation
import Testing

/// Texts as their authors publish them.
final class TextFormatTests {
  private let folder: URL

  init() throws {
    folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-texts-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  private func read(
    _ name: String, _ bytes: [UInt8], format: TextFormat? = nil
  ) throws -> EvaluationText {
    let file = folder.appendingPathComponent(name)
    try Data(bytes).write(to: file)
    return try EvaluationText.contents(of: file.path, format: format)
  }

  private func strings(_ documents: [[UInt8]]) -> [String] {
    documents.map { String(decoding: $0, as: UTF8.self) }
  }

  @Test func `a file's name says what it holds`() {
    let names: [(String, TextFormat)] = [
      ("wiki.test.raw", .wikitext), ("a/wiki.test.tokens", .wikitext),
      ("wiki.test.raw.gz", .wikitext),
      ("c4-validation.00000-of-00008.json.gz", .jsonl), ("x.jsonl", .jsonl), ("x.json", .jsonl),
      ("x.txt", .plain), ("x.txt.gz", .plain), ("-", .plain), ("raw", .plain),
    ]
    for (name, format) in names { #expect(TextFormat(path: name) == format, "\(name)") }
  }

  /// Hugging Face's datasets make a row of every line, its line feed included, and an empty one of a
  /// line of white space; `"\n\n".join` puts them together.
  @Test func `WikiText's lines are joined as Hugging Face's users join them`() throws {
    let file = " \n = One = \n \n Text , one . \n = = Part = = \n \n = Two = \n More \n"
    let rows = [
      "", " = One = \n", "", " Text , one . \n", " = = Part = = \n", "", " = Two = \n", " More \n",
    ]
    let text = try read("wiki.test.tokens", Array(file.utf8))
    #expect(String(decoding: text.joined, as: UTF8.self) == rows.joined(separator: "\n\n"))
    #expect(
      strings(text.documents) == [
        rows[..<6].joined(separator: "\n\n"), rows[6...].joined(separator: "\n\n"),
      ])
  }

  /// Two members, as `cat a.gz b.gz` makes.
  private static let packed =
    ("H4sIAAAAAAAC/6tWKkmtKFGyUlDKz0tV0lFQKi3KAfFKlWq5AG4BM4EcAAAAH4sIAAAAAAAC/6tWKkmt"
      + "KFGyUlCqKk/NVDi8RKmWCwAP43fLFAAAAA==")

  @Test func `C4's packed lines are documents, joined by a space`() throws {
    let bytes = Array(try #require(Data(base64Encoded: Self.packed)))
    let text = try read("c4.json.gz", bytes)
    #expect(strings(text.documents) == ["one", "zwei ä"])
    #expect(String(decoding: text.joined, as: UTF8.self) == "one zwei ä")
  }

  @Test(arguments: [12, 30, 60]) func `a packed file that was cut off is refused`(
    count: Int
  ) throws {
    let bytes = Array(try #require(Data(base64Encoded: Self.packed)).prefix(count))
    let error = #expect(throws: TextError.self) { try read("c4.json.gz", bytes) }
    guard case .compressed(_, .damaged) = try #require(error) else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func `what comes out of a packed file has a limit`() throws {
    let bytes = try #require(Data(base64Encoded: Self.packed))
    let file = folder.appendingPathComponent("small.gz")
    try bytes.write(to: file)
    let descriptor = open(file.path, O_RDONLY)
    #expect(throws: GzipError.tooLarge(limit: 20)) {
      try GzipReader().bytes(of: descriptor, limit: 20)
    }
  }

  @Test func `a line that is no document is named`() throws {
    let bad = ["{\"text\": \"a\"}\n\n{\"text\": 5}\n", "{\"text\": \"a\"}\n\n{\"tex"]
    for text in bad {
      let error = #expect(throws: TextError.self) { try read("x.jsonl", Array(text.utf8)) }
      guard case .malformed(_, 3, _) = try #require(error) else {
        Issue.record("\(String(describing: error))")
        continue
      }
    }
    let plain = try read("x.jsonl", Array(bad[0].utf8), format: .plain)
    #expect(plain.documents.count == 1)
  }
}
