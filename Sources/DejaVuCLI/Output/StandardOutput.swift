import Foundation

/// Standard output without a buffer: a piece is out when `write` returns.
enum StandardOutput {
  static let isTerminal = isatty(STDOUT_FILENO) == 1

  /// Writes all of `text`.
  ///
  /// - Throws: ``CommandError/stream(name:reason:)`` when the disk is full or the file is closed.
  static func write(_ text: String) throws(CommandError) {
    guard let code = writeAll(text, to: STDOUT_FILENO) else { return }
    throw .stream(name: "cannot write to standard output", reason: String(cString: strerror(code)))
  }

  /// Text of a model on its way to a terminal, which control characters must not steer.
  static func harmless(_ text: String) -> String {
    guard isTerminal else { return text }
    return text.unicodeScalars.reduce(into: "") { result, scalar in
      let isControl = scalar.properties.generalCategory == .control
      if isControl && scalar != "\n" && scalar != "\t" {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
  }

  /// - Returns: nil, or the error number of the write that failed.
  static func writeAll(_ text: String, to descriptor: Int32) -> Int32? {
    let bytes = Array(text.utf8)
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes {
        Foundation.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return count == 0 ? EIO : errno }
      done += count
    }
    return nil
  }
}
