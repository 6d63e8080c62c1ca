import DejaVuCore
import DejaVuJSON

/// The five sizes that every family states.
struct Sizes {
  let hidden: Int
  let layers: Int
  let heads: Int
  let neurons: Int
  let vocabulary: Int
}

extension Sizes {
  /// Reads the sizes under the names that most families use; `neurons` differs.
  init(_ reader: ConfigReader, neurons field: String) throws(CheckpointError) {
    hidden = try reader.integer("hidden_size", in: Caps.hidden)
    layers = try reader.integer("num_hidden_layers", in: Caps.layers)
    heads = try reader.integer("num_attention_heads", in: Caps.heads)
    neurons = try reader.integer(field, in: Caps.neurons)
    vocabulary = try reader.integer("vocab_size", in: Caps.vocabulary)
  }
}

extension ConfigReader {
  /// h = D / H, where the heads share the stream's width.
  func dividedHeadWidth(
    _ sizes: Sizes, _ fields: String = "num_attention_heads"
  ) throws(CheckpointError) -> Int {
    guard sizes.hidden % sizes.heads == 0 else {
      let (name, found) = value([fields, "num_attention_heads"]) ?? (fields, .null)
      throw invalid(name, found, "a divisor of the hidden size (\(sizes.hidden))")
    }
    return sizes.hidden / sizes.heads
  }

  func epsilon(_ field: String, default standard: Double) throws(CheckpointError) -> Float {
    guard let value = json[field] else { return Float(standard) }
    guard let number = value.double, Caps.epsilon.contains(number), Float(number) < 1 else {
      throw invalid(field, value, "a number above 0 and below 1")
    }
    return Float(number)
  }

  func activation(
    _ field: String, default standard: String
  ) throws(CheckpointError) -> Activation {
    switch try text(field, default: standard) {
    case "relu": return .relu
    case "gelu", "gelu_python": return .gelu
    case "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate": return .geluTanh
    case "silu", "swish": return .silu
    default:
      throw invalid(
        field, json[field],
        "relu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, silu or swish")
    }
  }

  // MARK: Rotary positions

  /// Rotary positions from `rope_parameters` (new) or `rope_theta` and `rope_scaling` (old).
  ///
  /// - Parameters:
  ///   - headWidth: h; the rotating part of it must be even.
  ///   - partial: the share of a head that rotates when the file does not say.
  ///   - mayBePartial: whether the family's code reads that share at all.
  /// - Returns: a rotation of an even, positive number of lanes, at most `headWidth`.
  /// - Throws: ``CheckpointError/invalidField(file:field:found:expected:)`` for a value outside
  ///   its range, ``CheckpointError/unsupported(file:reason:)`` for a scaling that is not known,
  ///   or a partial rotation where the family has none.
  func rotary(
    headWidth: Int, partial: Double, mayBePartial: Bool
  ) throws(CheckpointError) -> Rotary {
    let field = nonNull(["rope_scaling", "rope_parameters"])?.name ?? "rope_scaling"
    let parameters = try object(field) ?? ConfigReader(json: .object([]), file: file)
    let theta = try theta(parameters)
    let share = try share(parameters, default: partial)
    guard mayBePartial || share == 1 else {
      throw .unsupported(file: file, reason: "only a part of each head rotates")
    }
    // Finite and at most `headWidth`; truncated as the family's own code does.
    let width = Int(Double(headWidth) * share)
    guard width > 0, width % 2 == 0 else {
      let expected = "such that an even number of each head's \(headWidth) lanes rotates"
      throw .invalidField(
        file: file, field: share == 1 ? "head_dim" : "partial_rotary_factor", found: "\(width)",
        expected: expected)
    }
    return Rotary(theta: theta, width: width, scaling: try parameters.scaling())
  }

  private func theta(_ parameters: ConfigReader) throws(CheckpointError) -> Double {
    if parameters.json["rope_theta"] != nil {
      return try parameters.number("rope_theta", in: Caps.theta, default: 10_000)
    }
    return try number("rope_theta", "rotary_emb_base", in: Caps.theta, default: 10_000)
  }

  private func share(
    _ parameters: ConfigReader, default standard: Double
  ) throws(CheckpointError) -> Double {
    let range = 1e-6...1.0
    if parameters.json["partial_rotary_factor"] != nil {
      return try parameters.number("partial_rotary_factor", in: range, default: standard)
    }
    return try number("partial_rotary_factor", "rotary_pct", in: range, default: standard)
  }

  private func scaling() throws(CheckpointError) -> Rotary.Scaling {
    guard let type = nonNull(["rope_type", "type"]) else {
      // No type is named: theta alone is fine, but a factor without one has no meaning.
      guard json["factor"] == nil else {
        throw invalid("rope_type", nil, "default, linear or llama3")
      }
      return .none
    }
    guard let name = type.json.text else { throw invalid(type.name, type.json, "a string") }
    switch name {
    case "default": return .none
    case "linear": return .linear(factor: try requiredNumber("factor", in: Caps.factor))
    case "llama3": return try llama3Scaling()
    default: throw invalid(type.name, type.json, "default, linear or llama3")
    }
  }

  private func llama3Scaling() throws(CheckpointError) -> Rotary.Scaling {
    let low = try requiredNumber("low_freq_factor", in: 1e-6...1e6)
    let high = try requiredNumber("high_freq_factor", in: 1e-6...1e6)
    guard low < high else {
      throw invalid("high_freq_factor", json["high_freq_factor"], "above low_freq_factor (\(low))")
    }
    return .llama3(
      factor: try requiredNumber("factor", in: Caps.factor), lowFrequency: low,
      highFrequency: high,
      original: try integer("original_max_position_embeddings", in: Caps.context))
  }
}
