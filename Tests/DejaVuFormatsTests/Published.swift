import DejaVuCore
import DejaVuFormats
import Foundation
import Testing

/// The checkpoints under `Tests/Fixtures/published`, whose codes `Scripts/publish_codes.py` wrote.
enum Published {
  static let names = ["opt-gptq", "llama-awq", "llama-gptq-8bit"]

  static func folder(_ name: String) -> String {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent()
    return tests.appendingPathComponent("Fixtures/published/\(name)").path
  }
}

/// A published checkpoint with something changed, in a folder of its own.
struct ChangedCheckpoint {
  let folder: TemporaryFolder
  private let name: String

  init(of name: String) throws {
    folder = try TemporaryFolder()
    self.name = name
    try folder.write("config.json", try config())
    try rewrite()
  }

  private func config() throws -> String {
    try String(contentsOfFile: Published.folder(name) + "/config.json", encoding: .utf8)
  }

  /// Replaces text of the configuration.
  func replace(_ text: String, by other: String) throws {
    let config = try config()
    precondition(config.contains(text), "the configuration has no \(text)")
    try folder.write("config.json", config.replacingOccurrences(of: text, with: other))
  }

  /// Writes the weights with one tensor dropped, renamed, given another shape or type, or other bytes.
  func rewrite(
    _ changed: String? = nil, drop: Bool = false, shape: [Int]? = nil, type: StoredType? = nil,
    add: (name: String, values: [UInt16])? = nil, bytes change: ((inout [UInt8]) -> Void)? = nil
  ) throws {
    let file = try SafetensorsFile(path: Published.folder(name) + "/model.safetensors")
    if let changed {
      precondition(file.entries.contains { $0.name == changed }, "there is no \(changed)")
    }
    let kept = file.entries.filter { !drop || $0.name != changed }
    var declarations = try kept.map { entry in
      let stored = try #require(StoredType(rawValue: entry.storedType))
      let isChanged = entry.name == changed
      return SafetensorsDeclaration(
        name: entry.name, type: isChanged ? type ?? stored : stored,
        shape: isChanged ? shape ?? entry.shape : entry.shape)
    }
    if let add {
      declarations.append(
        SafetensorsDeclaration(name: add.name, type: .float16, shape: [add.values.count]))
    }
    let writer = try SafetensorsWriter(
      path: folder.path + "/model.safetensors", tensors: declarations)
    for entry in kept {
      var bytes = entry.withBytes { Array($0) }
      if entry.name == changed { change?(&bytes) }
      if entry.name == changed, let shape {
        let size = (type ?? .int32) == .int32 ? 4 : 2
        bytes = Array((bytes + bytes).prefix(shape.reduce(size, *)))
      }
      try writer.append(bytes, to: entry.name)
    }
    if let add { try writer.append(add.values, to: add.name) }
    try writer.finish()
  }

  /// What opening the checkpoint, and reading its scales and zeros, says.
  func complaint() -> String {
    message(in: folder) {
      let checkpoint = try Checkpoint.open(folder: folder.path)
      for tensor in checkpoint.codes.values.sorted(by: { $0.name < $1.name }) {
        try tensor.validate()
      }
    }
  }
}
