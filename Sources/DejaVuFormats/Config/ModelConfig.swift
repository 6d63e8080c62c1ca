public import DejaVuCore
import DejaVuJSON

/// What `config.json` says about a model, checked and in the engine's own words.
public struct ModelConfig: Sendable {
  /// Sizes within bounds, and such that they fit each other.
  public let architecture: Architecture
  /// How linear layers are stored as codes; nil where all weights are numbers.
  public let codes: PublishedCodes?
  /// What the file says and this version ignores.
  public let warnings: [String]
  /// Token ids that the file names; see ``GenerationConfig``.
  package let tokens: GenerationConfig

  static let maximumBytes = 4 << 20
  static let limits = JSONLimits(depth: 32, values: 200_000)

  /// Reads the configuration at `path`.
  ///
  /// - Throws: ``CheckpointError/invalidField(file:field:found:expected:)`` naming the field, what
  ///   was found and what is allowed; ``CheckpointError/unsupportedArchitecture(found:supported:)``.
  public init(path: String) throws(CheckpointError) {
    let json = try JSONFile.object(
      at: path, maximumBytes: Self.maximumBytes, limits: Self.limits)
    let saysItself = json["quantization_config"].map { !$0.isNull } ?? false
    try self.init(json: json, file: path, codes: saysItself ? nil : Self.codes(beside: path))
  }

  /// Older checkpoints say in a file of its own how they are stored as codes.
  private static func codes(beside path: String) throws(CheckpointError) -> PublishedCodes? {
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
    for (name, method) in [
      ("quantize_config.json", PublishedCodes.Method.gptq), ("quant_config.json", .awq),
    ] where FileSystem.exists(folder + name) {
      let json = try JSONFile.object(
        at: folder + name, maximumBytes: maximumBytes, limits: limits)
      return try ConfigReader(json: json, file: folder + name).publishedCodes(by: method)
    }
    return nil
  }

  /// Reads a configuration from memory; `file` is its name in messages.
  public init(text: some Collection<UInt8>, file: String) throws(CheckpointError) {
    try self.init(json: JSONFile.object(in: text, file: file, limits: Self.limits), file: file)
  }

  init(json: JSON, file: String, codes: PublishedCodes? = nil) throws(CheckpointError) {
    let reader = ConfigReader(json: json, file: file)
    guard let type = json["model_type"]?.text else {
      throw reader.invalid("model_type", json["model_type"], "the name of an architecture")
    }
    guard let family = Family(rawValue: type) else {
      throw .unsupportedArchitecture(
        found: type, supported: Family.allCases.map { $0.rawValue })
    }
    self.codes = try reader.object("quantization_config")?.publishedCodes() ?? codes
    guard self.codes == nil || family.hasPublishedCodes else {
      throw .unsupported(
        file: file,
        reason: "codes of the architecture '\(type)' are not read; use the full-precision copy")
    }
    architecture = try reader.architecture(family)
    tokens = try GenerationConfig(reader, vocabulary: architecture.vocabulary)
    warnings =
      json["auto_map"] == nil
      ? [] : ["'auto_map' in config.json names code of the checkpoint; it is ignored and never run"]
  }
}

/// The architectures whose configurations and weights are understood, by their `model_type`.
enum Family: String, CaseIterable {
  case opt, llama, mistral, qwen2, gpt2
  case gptNeoX = "gpt_neox"
  case bloom

  /// Whether its linear layers are stored one by one, as `[outputs, inputs]`.
  var hasPublishedCodes: Bool {
    switch self {
    case .opt, .llama, .mistral, .qwen2: true
    case .gpt2, .gptNeoX, .bloom: false
    }
  }
}

/// Bounds on what a configuration may ask for.
///
/// They lie well above published models and low enough that no product of two sizes, or of two
/// sizes and the number of layers, overflows 64 bits.
enum Caps {
  static let hidden = 1...1 << 17
  static let layers = 1...1 << 12
  static let heads = 1...1 << 14
  static let headWidth = 1...1 << 14
  static let vocabulary = 1...1 << 24
  static let context = 1...1 << 24
  static let neurons = 1...1 << 20
  /// H·h, the width of all heads together.
  static let headLanes = 1...1 << 18
  /// Smallest normal Float and the largest number below one: an epsilon stays positive and finite.
  static let epsilon = Double(Float.leastNormalMagnitude)...1.0.nextDown
  static let theta = Double.leastNormalMagnitude...1e12
  static let factor = 1.0...1e6
}
