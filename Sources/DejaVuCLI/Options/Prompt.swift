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
    let bytes: [UInt8]
    do {
      bytes = try InputFile.bytes(of: STDIN_FILENO, limit: limit)
    } catch {
      throw .standardInput(error)
    }
    guard bytes.count <= limit else { throw .promptTooLarge(limit: limit) }
    return bytes
  }
}
