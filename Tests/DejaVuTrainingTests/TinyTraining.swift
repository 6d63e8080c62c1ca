import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuTestSupport
import DejaVuTokenizers
import DejaVuTraining
import Foundation

/// One token per byte: enough of a tokenizer to train a tiny model with.
struct ByteTokenizer: Tokenizer {
  var vocabularyCount: Int { 257 }
  var bosToken: TokenID? { 256 }
  var eosToken: TokenID? { nil }
  var padToken: TokenID? { nil }
  var unkToken: TokenID? { nil }

  func encode(
    utf8 text: [UInt8], addingSpecialTokens: Bool, parsingSpecialTokens: Bool
  ) -> [TokenID] {
    (addingSpecialTokens ? [256] : []) + text.map { TokenID($0) }
  }

  func bytes(of id: TokenID) -> [UInt8] { id < 256 && id >= 0 ? [UInt8(id)] : [] }
  func id(of token: String) -> TokenID? { nil }
  func isSpecial(_ id: TokenID) -> Bool { id == 256 }
}

/// Trainings of tiny random models, on seeded text.
enum TinyTraining {
  /// Documents of a few hundred random letters.
  static func text(documents: Int = 40) -> EvaluationText {
    var random = SeededRandom(seed: 5)
    var bytes: [UInt8] = []
    for _ in 0..<documents {
      for _ in 0..<200 + Int(random.next() % 200) { bytes.append(UInt8(97 + random.next() % 26)) }
      bytes += Array("\n<|endoftext|>\n".utf8)
    }
    return EvaluationText(bytes)
  }

  static func engine(_ model: TinyModel, threads: Int = 2) throws -> Engine {
    try Engine(
      model: model.model(),
      backend: .cpu(CPUOptions(threads: threads, batchCapacity: 64)))
  }

  static func options(tokens: Int = 4096) -> TrainingOptions {
    var options = TrainingOptions()
    options.tokens = tokens
    options.timeBudget = nil
    options.rank = 64
    return options
  }

  static func training(
    _ model: TinyModel = .opt, options: TrainingOptions = options(), threads: Int = 2,
    state: String? = nil
  ) throws -> PredictorTraining {
    try PredictorTraining(
      engine: try engine(model, threads: threads), tokenizer: ByteTokenizer(),
      fingerprint: String(repeating: "a", count: 64), text: text(), options: options,
      statePath: state)
  }

  /// A name in the temporary folder that nothing has.
  static func path(_ name: String) -> String {
    NSTemporaryDirectory() + "dejavu-\(UUID().uuidString)-\(name)"
  }

  static func bytes(_ path: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: path)))
  }
}
