import Foundation

/// What standard error can show.
struct Terminal {
  enum Style: String {
    case error = "1;31"
    case dim = "2"
    case bar = "36"
  }

  /// Whether lines can be drawn over.
  let isInteractive: Bool
  private let hasColours: Bool

  static let error = Terminal(environment: ProcessInfo.processInfo.environment)

  init(environment: [String: String]) {
    let term = environment["TERM"] ?? ""
    isInteractive = isatty(STDERR_FILENO) == 1 && !term.isEmpty && term != "dumb"
    hasColours = isInteractive && (environment["NO_COLOR"] ?? "").isEmpty
  }

  /// `text` in a style where there are colours.
  func styled(_ text: String, _ style: Style) -> String {
    hasColours ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
  }

  /// Writes a line; a standard error that does not work is no reason to stop.
  func writeLine(_ text: String) { write(text + "\n") }

  func write(_ text: String) { _ = StandardOutput.writeAll(text, to: STDERR_FILENO) }

  /// Columns of the window; 80 where nobody says.
  var columns: Int {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }
}
