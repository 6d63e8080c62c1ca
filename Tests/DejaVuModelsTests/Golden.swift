import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuModels
import Foundation
import Testing

/// A checkpoint with what Hugging Face transformers computes from it in float32.
struct Golden: Hashable, Sendable, CustomTestStringConvertible {
  let name: String
  let modelFolder: String
  let goldenFolder: String

  var testDescription: String { name }

  /// The repository, found from where this file was compiled.
  static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

  /// The seeded random checkpoints, one per architecture.
  static let tiny: [Golden] = {
    let folder = root + "/Tests/Fixtures/goldens"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.filter { $0.hasPrefix("tiny-") }.sorted().map {
      Golden(name: $0, modelFolder: "\(folder)/\($0)", goldenFolder: "\(folder)/\($0)")
    }
  }()

  static let defaultModel = Golden(
    name: "opt-16m", modelFolder: root + "/Models/opt-16m",
    goldenFolder: root + "/Tests/Fixtures/goldens/opt-16m")

  /// The larger trained model, where DEJAVU_TEST_MODELS names a folder that holds it.
  static let larger: Golden? = {
    guard let folder = ProcessInfo.processInfo.environment["DEJAVU_TEST_MODELS"] else { return nil }
    return Golden(
      name: "opt-96m", modelFolder: folder + "/models/opt-96m",
      goldenFolder: folder + "/goldens/opt-96m")
  }()

  /// What is always there.
  static let committed = tiny + [defaultModel]

  /// A backend on the checkpoint with room for the longest case and its continuation.
  func engine(_ options: CPUOptions) throws -> Engine {
    let loaded = try ModelFolder.load(modelFolder, team: try ThreadTeam(threads: 1))
    return try Engine(model: loaded.model, backend: .cpu(options))
  }

  func cases() throws -> [GoldenCase] {
    let file = try SafetensorsFile(path: goldenFolder + "/golden.safetensors")
    let tensors = Dictionary(uniqueKeysWithValues: file.entries.map { ($0.name, $0) })
    let count = tensors.keys.count { $0.hasPrefix("ids.") }
    return try (0..<count).map { try GoldenCase($0, tensors: tensors) }
  }
}

/// One text of a golden.
struct GoldenCase: Sendable {
  let ids: [TokenID]
  /// Logits of the last positions, one row each.
  let logits: [[Float]]
  /// −ln p of every token but the first.
  let losses: [Float]
  /// What the model says next when it always takes the likeliest token.
  let greedy: [TokenID]

  init(_ index: Int, tensors: [String: TensorEntry]) throws {
    func values<Value: BitwiseCopyable>(_ name: String, _ type: Value.Type) throws -> [Value] {
      let bytes = try #require(tensors["\(name).\(index)"]).bytes
      let size = MemoryLayout<Value>.size
      return (0..<bytes.count / size).map {
        bytes.loadUnaligned(fromByteOffset: $0 * size, as: type)
      }
    }
    ids = try values("ids", Int64.self).map { TokenID($0) }
    greedy = try values("greedy", Int64.self).map { TokenID($0) }
    losses = try values("nll", Float.self)
    let width = try #require(tensors["logits.\(index)"]?.shape.last)
    let flat = try values("logits", Float.self)
    logits = stride(from: 0, to: flat.count, by: width).map { Array(flat[$0..<$0 + width]) }
  }

  /// Position of the first row of `logits`.
  var firstRow: Int { ids.count - logits.count }
}

/// What our engine says about one text: logits where the golden has them, losses everywhere.
struct Answer {
  var logits: [[Float]] = []
  var losses: [Float] = []
  private let golden: GoldenCase

  init(to golden: GoldenCase) { self.golden = golden }

  /// Takes in the logits at `position`.
  mutating func record(_ position: Int, _ row: UnsafeBufferPointer<Float>) {
    if position >= golden.firstRow { logits.append(Array(row)) }
    guard position + 1 < golden.ids.count else { return }
    losses.append(Float(-logProbability(of: golden.ids[position + 1], given: row)))
  }

  /// The largest difference of logits over the largest logit.
  var logitDifference: Float {
    var (difference, largest): (Float, Float) = (0, 0)
    guard logits.count == golden.logits.count else { return .infinity }
    for (ours, theirs) in zip(logits.joined(), golden.logits.joined()) {
      difference = max(difference, abs(ours - theirs))
      largest = max(largest, abs(theirs))
    }
    return difference / largest
  }

  /// The largest difference of token losses, in nats.
  var lossDifference: Float {
    guard losses.count == golden.losses.count else { return .infinity }
    return zip(losses, golden.losses).map { abs($0 - $1) }.max() ?? 0
  }

  /// The difference of the mean losses, in nats.
  var meanLossDifference: Float {
    let differences = zip(losses, golden.losses).map { $0 - $1 }
    return abs(differences.reduce(0, +)) / Float(max(differences.count, 1))
  }
}

/// How far from transformers an engine may be.
enum GoldenTolerance {
  /// float32 sums in another order, over the depth of these models.
  static let logits: Float = 2e-4
  /// In nats.
  static let losses: Float = 2e-3
  /// In nats: rounding keys and values to float16 in transformers itself moves the losses of
  /// single tokens of opt-16m by up to 0.015, and the mean of a text by less than 0.001.
  static let roundedCacheLosses: Float = 2e-2
  /// Two best logits closer than this may change places.
  static let tie: Float = 0.01
}

extension CPUOptions {
  /// The arithmetic that goldens are compared in.
  static func exactCache(
    _ instructionSet: InstructionSet = .best, threads: Int = 2, batchCapacity: Int = 512
  ) -> CPUOptions {
    CPUOptions(
      threads: threads, instructionSet: instructionSet, cacheType: .float32,
      multipliesPromptInBFloat16: false, batchCapacity: batchCapacity)
  }
}
