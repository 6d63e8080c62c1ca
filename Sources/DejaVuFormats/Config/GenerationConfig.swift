import DejaVuCore
import DejaVuJSON

/// How a model's makers suggest to continue text.
///
/// The fields of `generation_config.json` that this version uses. All are optional; nil means that
/// the file says nothing.
public struct GenerationConfig: Hashable, Sendable {
  /// The token that begins a text; below the vocabulary.
  public var bosToken: Int?
  /// Tokens that end a text; a file may name one or several.
  public var eosTokens: [Int]
  /// Whether tokens are drawn, instead of always taking the likeliest.
  public var samples: Bool?
  /// What logits are divided by before a draw, 0 to 100.
  public var temperature: Double?
  /// The share of probability that the tokens to draw from hold together, 0 to 1.
  public var topP: Double?
  /// 0 means that the choice is not limited.
  public var topK: Int?
  /// What logits of tokens seen before are divided by, 0.001 to 1000; 1 does nothing.
  public var repetitionPenalty: Double?
  /// The greatest number of tokens that a continuation should have; at least 1.
  public var maximumNewTokens: Int?
  /// What the file says and cannot be used, such as tokens outside the vocabulary.
  public var warnings: [String]

  /// A file that says nothing.
  public init() {
    eosTokens = []
    warnings = []
  }

  /// Reads the file at `path`.
  ///
  /// - Parameters:
  ///   - path: a JSON file with an object at the top.
  ///   - vocabulary: V; tokens at or above it can neither be fed nor produced, so they are dropped
  ///     with a warning.
  /// - Throws: ``CheckpointError/invalidField(file:field:found:expected:)`` for a value outside
  ///   its range.
  public init(path: String, vocabulary: Int) throws(CheckpointError) {
    let json = try JSONFile.object(
      at: path, maximumBytes: ModelConfig.maximumBytes, limits: ModelConfig.limits)
    try self.init(ConfigReader(json: json, file: path), vocabulary: vocabulary)
    let reader = ConfigReader(json: json, file: path)
    if let value = reader.nonNull(["do_sample"]) {
      samples = try reader.boolean(value.name, default: false)
    }
    temperature = try reader.optionalNumber("temperature", in: 0...100)
    topP = try reader.optionalNumber("top_p", in: 0...1)
    topK = try reader.optionalInteger("top_k", in: 0...1 << 24)
    repetitionPenalty = try reader.optionalNumber("repetition_penalty", in: 0.001...1000)
    maximumNewTokens = try reader.optionalInteger("max_new_tokens", in: 1...1 << 24)
  }

  /// Reads the token ids only, which `config.json` may hold too.
  init(_ reader: ConfigReader, vocabulary: Int) throws(CheckpointError) {
    let range = 0...Int(Int32.max)
    let bos = try reader.optionalInteger("bos_token_id", in: range)
    var eos: [Int] = []
    if let elements = reader.json["eos_token_id"]?.elements {
      for element in elements.prefix(1024) {
        eos.append(try reader.integer(element, "eos_token_id", range))
      }
    } else if let single = try reader.optionalInteger("eos_token_id", in: range) {
      eos = [single]
    }
    bosToken = bos.flatMap { $0 < vocabulary ? $0 : nil }
    eosTokens = eos.filter { $0 < vocabulary }
    warnings = (eos + [bos].compactMap { $0 }).filter { $0 >= vocabulary }.map {
      "token \($0) named in '\(escaped(reader.file))' is outside the vocabulary of \(vocabulary) "
        + "and is ignored"
    }
  }
}

extension ModelConfig {
  /// What a folder's `generation_config.json` says, over the token ids of `config.json`.
  ///
  /// - Parameter folder: the folder that this configuration is from; the file may be missing.
  /// - Returns: the file's fields; `bosToken` and `eosTokens` that it does not name are those of
  ///   this configuration.
  /// - Throws: ``CheckpointError`` when the file is there and cannot be read or used.
  package func generation(in folder: String) throws(CheckpointError) -> GenerationConfig {
    let path = folder + "/generation_config.json"
    guard FileSystem.exists(path) else { return tokens }
    var generation = try GenerationConfig(path: path, vocabulary: architecture.vocabulary)
    if generation.bosToken == nil { generation.bosToken = tokens.bosToken }
    if generation.eosTokens.isEmpty { generation.eosTokens = tokens.eosTokens }
    return generation
  }
}
