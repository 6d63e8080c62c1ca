import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuQuantization
import Foundation

/// A throw-away folder for the quantized copy of one of the tiny checkpoints.
final class QuantizedFolder {
  static let sources = [
    "tiny-opt", "tiny-opt-postnorm", "tiny-llama", "tiny-qwen2", "tiny-gpt2", "tiny-gpt-neox",
    "tiny-bloom",
  ]

  let path: String
  private static let goldens = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fixtures/goldens")

  init() {
    path = FileManager.default.temporaryDirectory.path + "/dejavu-quantized-\(UUID().uuidString)"
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  var file: URL { URL(fileURLWithPath: path).appendingPathComponent("packed.safetensors") }

  /// Names of complete weight files and of their index.
  var weightFiles: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [])
      .filter { $0.hasPrefix("packed") && !$0.contains(".partial-") }.sorted()
  }

  func source(_ name: String) throws -> LoadedModel {
    try ModelFolder.load(
      Self.goldens.appendingPathComponent(name).path, team: try ThreadTeam(threads: 1))
  }

  func load() throws -> LoadedModel {
    try ModelFolder.load(path, team: try ThreadTeam(threads: 1))
  }

  func write(
    _ name: String, options: QuantizationOptions, shardBytes: Int = .max
  ) throws -> LoadedModel {
    try write(try source(name), name, options: options, shardBytes: shardBytes)
  }

  /// Quantizes a model into this folder.
  ///
  /// - Returns: the model.
  func write(
    _ source: LoadedModel, _ name: String, options: QuantizationOptions, shardBytes: Int = .max
  ) throws -> LoadedModel {
    let folder = Self.goldens.appendingPathComponent(name).path
    let checkpoint = try Checkpoint.open(folder: folder)
    guard let layout = source.layout else { return source }
    let vocabulary = source.model.architecture.vocabulary
    let windows = (0..<6).map { window in
      (0..<16).map { TokenID((window * 7919 + $0 * 104_729) % vocabulary) }
    }
    let quantizer = try ModelQuantizer(
      model: source.model, source: layout, options: options,
      windows: options.needsText ? windows : [], cpu: CPUOptions(threads: 2),
      tensorName: { checkpoint.views[$0]?.tensor ?? "\($0)" })
    let writer = PackedWriter(
      quantizer.layout, folder: path,
      metadata: QuantizedCopy.metadata(
        of: source.metadata, fingerprint: source.fingerprint, options: options),
      shardBytes: shardBytes)
    let base = source.model.tokenEmbedding.base
    for entry in writer.entries where entry.format.groupwise == nil {
      guard let from = layout.entry(entry.name) else { continue }
      try writer.append(
        UnsafeRawBufferPointer(start: base + from.offset, count: from.byteCount), to: entry)
    }
    try quantizer.run(progress: { _ in }, emit: { try writer.append($1, to: $0) })
    try writer.finish()
    let config = path + "/config.json"
    if !FileManager.default.fileExists(atPath: config) {
      try FileManager.default.copyItem(atPath: folder + "/config.json", toPath: config)
    }
    return source
  }

  /// Runs `body` while the file's header says something else; the length field follows.
  func replacing(_ text: String, by other: String, _ body: () throws -> Void) throws {
    let original = try Data(contentsOf: file)
    defer { try? original.write(to: file) }
    let length = original.prefix(8).enumerated().reduce(0) {
      $0 | Int($1.element) << (8 * $1.offset)
    }
    var header = String(decoding: original[8..<8 + length], as: UTF8.self)
    precondition(header.contains(text), "the header has no \(text)")
    header = header.replacingOccurrences(of: text, with: other)
    while header.utf8.count % 64 != 56 { header += " " }
    let count = header.utf8.count
    var changed = Data((0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) })
    changed += Data(header.utf8) + original[(8 + length)...]
    try changed.write(to: file)
    try body()
  }
}
