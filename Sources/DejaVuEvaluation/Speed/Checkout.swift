import DejaVu
import Foundation

/// The checkout that the running program lies in, read from git's own files.
package enum Checkout {
  /// The commit that the checkout is at; nil for a program that was installed elsewhere.
  ///
  /// A program that was built before the checkout moved on is not told apart.
  package static var commit: String? {
    DefaultModel.executable.flatMap { commit(above: $0) }
  }

  /// The commit of the checkout that holds `path`, 40 or 64 hexadecimal digits.
  package static func commit(above path: String) -> String? {
    var folder = URL(fileURLWithPath: path).standardizedFileURL
    while folder.path != "/" {
      folder.deleteLastPathComponent()
      let git = folder.appendingPathComponent(".git")
      if FileManager.default.fileExists(atPath: git.path) { return head(of: git) }
    }
    return nil
  }

  private static func head(of git: URL) -> String? {
    // A work tree beside the first has a file here that names its folder.
    let own = line(git).flatMap { text(behind: "gitdir: ", in: $0) }
      .map { URL(fileURLWithPath: $0, relativeTo: git.deletingLastPathComponent()) }
    let folder = own ?? git
    guard let head = line(folder.appendingPathComponent("HEAD")) else { return nil }
    guard let name = text(behind: "ref: ", in: head) else { return checked(head) }
    let common = line(folder.appendingPathComponent("commondir"))
      .map { URL(fileURLWithPath: $0, relativeTo: folder.appendingPathComponent("x")) }
    for base in [folder, common].compactMap({ $0 }) {
      if let found = line(base.appendingPathComponent(name)) { return checked(found) }
      if let found = packed(name, in: base) { return checked(found) }
    }
    return nil
  }

  private static func packed(_ name: String, in folder: URL) -> String? {
    let file = folder.appendingPathComponent("packed-refs")
    guard let text = try? String(contentsOf: file, encoding: .utf8) else { return nil }
    return text.split(separator: "\n").first { $0.hasSuffix(" " + name) }
      .map { String($0.prefix { $0 != " " }) }
  }

  private static func line(_ file: URL) -> String? {
    guard let text = try? String(contentsOf: file, encoding: .utf8) else { return nil }
    return text.split(separator: "\n").first.map(String.init)
  }

  private static func text(behind prefix: String, in line: String) -> String? {
    line.hasPrefix(prefix) ? String(line.dropFirst(prefix.count)) : nil
  }

  private static func checked(_ commit: String) -> String? {
    [40, 64].contains(commit.count) && commit.allSatisfy(\.isHexDigit) ? commit : nil
  }
}
