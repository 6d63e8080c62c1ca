import DejaVuEvaluation
import Foundation
import Testing

/// A headless Chromium, where there is one.
private enum Chromium {
  static let path = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
    .first { FileManager.default.isExecutableFile(atPath: $0) }

  /// Runs it with a profile of its own and gives what it printed.
  static func run(_ arguments: [String], in folder: URL) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try #require(path))
    // Root cannot have the sandbox; the only page that is opened is ours.
    let sandbox = getuid() == 0 ? ["--no-sandbox"] : []
    process.arguments =
      sandbox + [
        "--headless", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
        "--user-data-dir=\(folder.appendingPathComponent("profile").path)",
      ] + arguments
    let file = folder.appendingPathComponent("output")
    try Data().write(to: file)
    process.standardOutput = try FileHandle(forWritingTo: file)
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return String(decoding: try Data(contentsOf: file), as: UTF8.self)
  }
}

/// The report's page in a real browser.
///
/// `DEJAVU_KEEP_PICTURES=FOLDER` keeps the pictures, to be looked at.
@Suite(
  .enabled(
    if: Chromium.path != nil, "there is no Chromium; Debian's package is named chromium"),
  .serialized)
final class ReportBrowserTests {
  private let html: String
  private let folder: URL

  init() throws {
    html = try ReportSample.report.get().html
    folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("dejavu-report-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try Data(html.utf8).write(to: folder.appendingPathComponent("report.html"))
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  private func page(_ name: String) -> String {
    folder.appendingPathComponent(name).absoluteString
  }

  @Test(arguments: [320, 390, 768, 1400])
  func `nothing is wider than the window, at every width`(width: Int) throws {
    // A window cannot be as narrow as a telephone, but a frame can; the page itself has no script.
    let quoted = html.replacing("&", with: "&amp;").replacing("\"", with: "&quot;")
    let host = """
      <!DOCTYPE html><iframe id="f" style="width:\(width)px;height:800px;border:0"
      srcdoc="\(quoted)"></iframe><script>
      addEventListener('load', () => {
        const d = document.getElementById('f').contentDocument;
        const svgs = [...d.querySelectorAll('svg')].map(s => s.getBoundingClientRect());
        document.body.dataset.found = [
          d.scrollingElement.scrollWidth, d.scrollingElement.clientWidth, svgs.length,
          Math.min(...svgs.map(b => b.width)), Math.min(...svgs.map(b => b.height)),
          Math.max(...svgs.map(b => b.right))].map(Math.round).join(' ');
      });</script>
      """
    try Data(host.utf8).write(to: folder.appendingPathComponent("host.html"))
    let dom = try Chromium.run(
      ["--window-size=1600,1000", "--dump-dom", page("host.html")], in: folder)
    let match = try #require(dom.firstMatch(of: /data-found="([0-9 ]+)"/))
    let found = match.1.split(separator: " ").compactMap { Int($0) }
    try #require(found.count == 6)
    #expect(found[0] <= found[1] && found[1] == width, "the page is \(found[0]) wide")
    #expect(found[2] >= 16)
    // A single bar is the lowest drawing.
    #expect(found[3] >= 200 && found[4] >= 40, "a drawing is \(found[3]) by \(found[4])")
    #expect(found[5] <= width)
  }

  @Test func `it is drawn light on request and dark on request`() throws {
    var sizes: [String: Int] = [:]
    var pictures: [String: Data] = [:]
    for (name, flags) in [("light", []), ("dark", ["--force-dark-mode"])] {
      let picture = folder.appendingPathComponent("\(name).png")
      _ = try Chromium.run(
        flags + [
          "--window-size=1200,2400", "--screenshot=\(picture.path)", page("report.html"),
        ], in: folder)
      let data = try Data(contentsOf: picture)
      #expect(data.starts(with: [0x89, 0x50, 0x4E, 0x47]))
      (sizes[name], pictures[name]) = (data.count, data)
      if let keep = ProcessInfo.processInfo.environment["DEJAVU_KEEP_PICTURES"] {
        try data.write(to: URL(fileURLWithPath: keep).appendingPathComponent("\(name).png"))
      }
    }
    // An empty page of this size is a picture of a few kilobytes.
    for (name, size) in sizes { #expect(size > 60_000, "\(name) has \(size) bytes") }
    #expect(pictures["light"] != pictures["dark"])
  }
}
