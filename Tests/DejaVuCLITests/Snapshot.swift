import Foundation
import Testing

/// Texts that are compared with files in `Snapshots`.
///
/// When a change is meant, `DEJAVU_REFRESH_SNAPSHOTS=1 make test` writes the files anew; look at
/// the difference before committing it.
enum Snapshot {
  static func check(
    _ text: String, _ name: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let file = Repository.root.appendingPathComponent("Tests/DejaVuCLITests/Snapshots/\(name).txt")
    if ProcessInfo.processInfo.environment["DEJAVU_REFRESH_SNAPSHOTS"] == "1" {
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    let expected = try String(contentsOf: file, encoding: .utf8)
    #expect(text == expected, "see \(name).txt", sourceLocation: sourceLocation)
  }
}
