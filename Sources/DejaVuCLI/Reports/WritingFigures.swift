/// What `convert` and `pack` say when they are through.
struct WritingFigures {
  let command: String
  let folder: String
  let byteCount: Int
  let fileCount: Int
  let tensorCount: Int
  let fingerprint: String
  let isSynthetic: Bool
  let time: Duration

  func print(_ output: OutputOptions, warnings: [String]) throws {
    if output.json { try StandardOutput.write(json.description + "\n") }
    guard !output.quiet else { return }
    for warning in warnings { Terminal.error.writeLine("warning: \(warning)") }
    Terminal.error.writeLine(Terminal.error.styled(line, .dim))
  }

  private var line: String {
    let seconds = Quantity.seconds(time)
    return "\(tensorCount) tensors, \(Quantity.bytes(byteCount)) in \(fileCount) "
      + "file\(fileCount == 1 ? "" : "s"), \(Quantity.time(seconds)) "
      + "(\(Quantity.bytes(Double(byteCount) / max(seconds, 1e-9)))/s)"
      + (isSynthetic ? ", synthetic weights" : "")
  }

  private var json: JSONValue {
    [
      "schema": .text("dejavu/\(command)/1"),
      "output": .text(folder),
      "bytes": .whole(byteCount),
      "files": .whole(fileCount),
      "tensors": .whole(tensorCount),
      "fingerprint": .text(fingerprint),
      "synthetic": .bool(isSynthetic),
      "ms": .milliseconds(time),
    ]
  }
}
