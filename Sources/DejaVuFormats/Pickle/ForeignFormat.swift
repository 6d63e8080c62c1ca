/// Files that lie under a checkpoint's name and are something else.
enum ForeignFormat {
  /// Returns if `file` starts like a zip archive, and otherwise says what it is and what to do.
  static func refuse(_ file: MappedFile) throws(CheckpointError) {
    if file.holds([0x50, 0x4B, 0x03, 0x04], at: 0) { return }
    guard file.bytes.count > 0 else { throw .malformed(file: file.path, reason: "it is empty") }
    guard let reason = reason(file) else {
      throw .malformed(file: file.path, reason: "it does not start like a PyTorch checkpoint")
    }
    throw .unsupported(file: file.path, reason: reason)
  }

  private static func reason(_ file: MappedFile) -> String? {
    let remedy = "load it with a current PyTorch and save it again, or convert it to safetensors"
    if isLegacy(file) { return "it is in PyTorch's format from before version 1.6; \(remedy)" }
    if file.holds("ustar".utf8, at: 257) {
      return "it is a tar archive, perhaps PyTorch's oldest format; \(remedy)"
    }
    if file.holds([0x80], at: 0) { return "it is a bare pickle; \(remedy)" }
    if file.holds("version https://git-lfs".utf8, at: 0) {
      return "it is a git-lfs pointer, not the checkpoint; fetch the file itself with git lfs pull"
    }
    if file.holds("{".utf8, at: 8) {
      return "it looks like a safetensors file; name it so"
    }
    if file.bytes.prefix(512).allSatisfy({ isText($0) }) {
      return "it is text, perhaps an error page; download the checkpoint again"
    }
    return nil
  }

  /// The old format starts with a pickled magic number, 0x1950A86A20F9469CFC6C.
  private static func isLegacy(_ file: MappedFile) -> Bool {
    let magic: [UInt8] = [0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19]
    return (0..<24).contains { file.holds(magic, at: $0) }
  }

  private static func isText(_ byte: UInt8) -> Bool {
    (0x20..<0x7F).contains(byte) || (0x09...0x0D).contains(byte) || byte >= 0x80
  }
}
