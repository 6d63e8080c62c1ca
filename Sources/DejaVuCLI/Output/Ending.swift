import ArgumentParser
import DejaVuFormats
import Foundation

/// The last thing a command says.
enum Ending {
  /// Prints help on standard output, or the error in one line on standard error (and as JSON on
  /// standard output where `--json` was asked for).
  static func report(_ error: any Error) -> ExitStatus {
    let parserStatus = DejaVuCommand.exitCode(for: error)
    if parserStatus == .success { return printHelp(DejaVuCommand.fullMessage(for: error)) }
    if let code = error as? ExitCode { return ExitStatus(rawValue: code.rawValue) }
    let isUsage = parserStatus == .validationFailure
    let status = isUsage ? ExitStatus.usage : ExitStatus(error)
    if case CommandError.interrupted = error { return status }
    let message = isUsage ? usageMessage(error) : oneLine(String(describing: error))
    Terminal.error.writeLine(Terminal.error.styled("error:", .error) + " " + message)
    if CommandLine.arguments.prefix(while: { $0 != "--" }).contains("--json") {
      let object: JSONValue = [
        "schema": "dejavu/error/1",
        "error": ["message": .text(message), "code": .whole(Int(status.rawValue))],
      ]
      try? StandardOutput.write(object.description + "\n")
    }
    return status
  }

  private static func printHelp(_ text: String) -> ExitStatus {
    do {
      try StandardOutput.write(text.hasSuffix("\n") ? text : text + "\n")
      return .success
    } catch {
      Terminal.error.writeLine("error: \(error)")
      return ExitStatus(error)
    }
  }

  /// The parser's sentence and where to read more, without the usage text.
  private static func usageMessage(_ error: any Error) -> String {
    let message = oneLine(DejaVuCommand.message(for: error))
    let full = DejaVuCommand.fullMessage(for: error)
    guard let start = full.range(of: "See '", options: .backwards),
      let end = full.range(of: "' for more", range: start.upperBound..<full.endIndex)
    else { return message }
    return message + "; see '\(full[start.upperBound..<end.lowerBound])'"
  }

  private static func oneLine(_ text: String) -> String {
    let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
    let end = line.lastIndex { $0 != "." && $0 != " " } ?? line.startIndex
    return line.isEmpty
      ? line
      : String(line[...end]).unicodeScalars.reduce(into: "") {
        $0 +=
          $1.value < 0x20 || $1.value == 0x7F ? "\\u{\(String($1.value, radix: 16))}" : String($1)
      }
  }
}
