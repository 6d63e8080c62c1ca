import ArgumentParser
import Foundation

/// The text to continue: an argument, or standard input.
enum Prompt {
  /// Far beyond any context, and little enough to hold.
  private static let limit = 64 << 20

  /// - Throws: `ValidationError` when there is no text and nobody to wait for.
  static func read(_ argument: String?) throws -> String {
    if let argument, argument != "-" { return argument }
    if argument == nil, isatty(STDIN_FILENO) == 1 {
      throw ValidationError(
        "a prompt is missing: give it as an argument, through a pipe, or '-' to type it")
    }
    return text(try readStandardInput())
  }

  /// Bytes as text: U+FFFD for what is no UTF-8, one line break at the end taken off.
  static func text(_ bytes: [UInt8]) -> String {
    var bytes = bytes
    if bytes.last == UInt8(ascii: "\n") {
      bytes.removeLast()
      if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func readStandardInput() throws(CommandError) -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = Foundation.read(STDIN_FILENO, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else {
        throw .stream(
          name: "cannot read standard input", reason: String(cString: strerror(errno)))
      }
      guard count > 0 else { return bytes }
      bytes += buffer[..<count]
      guard bytes.count <= limit else { throw .promptTooLarge(limit: limit) }
    }
  }
}
