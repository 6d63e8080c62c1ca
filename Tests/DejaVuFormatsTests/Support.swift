import DejaVuFormats
import Foundation
import Testing

/// A folder that goes away with this object.
final class TemporaryFolder: Sendable {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "dejavu-formats-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes a file and returns its path.
  @discardableResult
  func write(_ name: String, _ bytes: [UInt8]) throws -> String {
    let file = path + "/" + name
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    return file
  }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    try write(name, Array(text.utf8))
  }

  /// Copies a file of a golden checkpoint into this folder.
  func copy(_ file: String, of checkpoint: String) throws {
    try FileManager.default.copyItem(
      atPath: Golden.folder(checkpoint) + "/" + file, toPath: path + "/" + file)
  }

  var contents: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() }
  }
}

/// The tiny checkpoints under `Tests/Fixtures/goldens`.
enum Golden {
  static let names = [
    "tiny-opt", "tiny-opt-postnorm", "tiny-llama", "tiny-llama-relu", "tiny-llama3-rope",
    "tiny-gpt2", "tiny-gpt-neox", "tiny-bloom", "tiny-mistral", "tiny-qwen2",
  ]

  static func folder(_ name: String) -> String {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent()
    return tests.appendingPathComponent("Fixtures/goldens/\(name)").path
  }
}

/// A safetensors file with this header and this many bytes of data.
func safetensors(_ header: String, data: Int = 0) -> [UInt8] {
  safetensors(Array(header.utf8), data: data)
}

func safetensors(_ header: [UInt8], data: Int = 0) -> [UInt8] {
  length(UInt64(header.count)) + header + [UInt8](repeating: 0, count: data)
}

/// The length field of a safetensors file.
func length(_ value: UInt64) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

/// The message of the `CheckpointError` that `body` throws, with `folder` spelled FOLDER.
func message(in folder: TemporaryFolder, _ body: () throws -> Void) -> String {
  do {
    try body()
    return "(no error)"
  } catch let error as CheckpointError {
    return error.description.replacingOccurrences(of: folder.path, with: "FOLDER")
  } catch {
    return "(another error: \(error))"
  }
}
