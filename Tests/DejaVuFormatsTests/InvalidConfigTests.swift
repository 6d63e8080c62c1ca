import DejaVuFormats
import Foundation
import Testing

/// One member that a configuration must not have, and the message that says so.
struct InvalidField: CustomTestStringConvertible, Sendable {
  let family: String
  let member: String
  let message: String

  /// - Parameters:
  ///   - family: a configuration that loads.
  ///   - field: the member that is replaced or added.
  ///   - value: its value as it stands in the file.
  ///   - complaint: what follows the field's name and "in 'config.json'".
  init(_ family: String, _ field: String, _ value: String, _ complaint: String) {
    self.family = family
    member = "\"\(field)\":\(value)"
    message = "'\(field)' in 'config.json' \(complaint)"
  }

  init(_ family: String, inside: String, _ field: String, _ object: String, _ complaint: String) {
    self.family = family
    member = "\"\(inside)\":\(object)"
    message = "'\(inside).\(field)' in 'config.json' \(complaint)"
  }

  var testDescription: String { member }

  /// The family's configuration with the member in place of its own.
  var text: String {
    let key = member.prefix { $0 != ":" }
    let kept = family.split(separator: ",").filter { !$0.hasPrefix("\(key):") }
    return (kept.map(String.init) + [member]).joined(separator: ",")
  }
}

private let llama = ConfigText.llama
private let sizeOfHidden = "but must be an integer from 1 to 131072"

private let numbers: [InvalidField] = [
  InvalidField(llama, "hidden_size", "0", "is 0 \(sizeOfHidden)"),
  InvalidField(llama, "hidden_size", "1099511627776", "is 1099511627776 \(sizeOfHidden)"),
  InvalidField(llama, "hidden_size", "\"64\"", "is the string '64' \(sizeOfHidden)"),
  InvalidField(llama, "hidden_size", "null", "is null \(sizeOfHidden)"),
  InvalidField(llama, "hidden_size", "64.0", "is 64.0 \(sizeOfHidden)"),
  InvalidField(llama, "hidden_size", "1e400", "is 1e400 \(sizeOfHidden)"),
  InvalidField(llama, "hidden_size", "true", "is true \(sizeOfHidden)"),
  InvalidField(llama, "hidden_size", "[64]", "is an array \(sizeOfHidden)"),
  InvalidField(
    llama, "hidden_size", "99999999999999999999", "is 99999999999999999999 \(sizeOfHidden)"),
  InvalidField(
    llama, "num_hidden_layers", "-1", "is -1 but must be an integer from 1 to 4096"),
  InvalidField(
    llama, "num_hidden_layers", "1000000000",
    "is 1000000000 but must be an integer from 1 to 4096"),
  InvalidField(
    llama, "num_attention_heads", "0", "is 0 but must be an integer from 1 to 16384"),
  InvalidField(
    llama, "num_attention_heads", "7", "is 7 but must be a divisor of the hidden size (64)"),
  InvalidField(
    llama, "num_key_value_heads", "3", "is 3 but must be a divisor of num_attention_heads (8)"),
  InvalidField(
    llama, "num_key_value_heads", "0", "is 0 but must be an integer from 1 to 16384"),
  InvalidField(
    llama, "num_key_value_heads", "16", "is 16 but must be a divisor of num_attention_heads (8)"),
  InvalidField(llama, "head_dim", "-2", "is -2 but must be an integer from 1 to 16384"),
  InvalidField(
    llama, "head_dim", "9",
    "is 9 but must be such that an even number of each head's 9 lanes rotates"),
  InvalidField(
    llama, "intermediate_size", "1048577",
    "is 1048577 but must be an integer from 1 to 1048576"),
  InvalidField(
    llama, "vocab_size", "16777217", "is 16777217 but must be an integer from 1 to 16777216"),
  InvalidField(
    llama, "max_position_embeddings", "16777217",
    "is 16777217 but must be an integer from 1 to 16777216"),
  InvalidField(llama, "rms_norm_eps", "0", "is 0 but must be a number above 0 and below 1"),
  InvalidField(llama, "rms_norm_eps", "1", "is 1 but must be a number above 0 and below 1"),
  InvalidField(llama, "rms_norm_eps", "-1e-5", "is -1e-5 but must be a number above 0 and below 1"),
  InvalidField(llama, "rms_norm_eps", "1e-60", "is 1e-60 but must be a number above 0 and below 1"),
  InvalidField(llama, "rms_norm_eps", "null", "is null but must be a number above 0 and below 1"),
  InvalidField(llama, "rms_norm_eps", "1e400", "is 1e400 but must be a number above 0 and below 1"),
  InvalidField(
    llama, "rms_norm_eps", "0.99999999999",
    "is 0.99999999999 but must be a number above 0 and below 1"),
]

private let choices: [InvalidField] = [
  InvalidField(
    llama, "hidden_act", "\"mish\"",
    "is the string 'mish' but must be relu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, silu or "
      + "swish"),
  InvalidField(llama, "hidden_act", "3", "is 3 but must be a string"),
  InvalidField(llama, "tie_word_embeddings", "1", "is 1 but must be true or false"),
  InvalidField(llama, "tie_word_embeddings", "null", "is null but must be true or false"),
  InvalidField(llama, "rope_scaling", "[]", "is an array but must be an object"),
  InvalidField(
    llama, inside: "rope_scaling", "type", "{\"type\":\"dynamic\",\"factor\":2}",
    "is the string 'dynamic' but must be default, linear or llama3"),
  InvalidField(
    llama, inside: "rope_parameters", "rope_type", "{\"rope_type\":\"yarn\"}",
    "is the string 'yarn' but must be default, linear or llama3"),
  InvalidField(
    llama, inside: "rope_scaling", "rope_type", "{\"factor\":2}",
    "is missing but must be default, linear or llama3"),
  InvalidField(
    llama, inside: "rope_scaling", "factor", "{\"type\":\"linear\"}",
    "is missing but must be a number from 1.0 to 1000000.0"),
  InvalidField(
    llama, inside: "rope_scaling", "factor", "{\"type\":\"linear\",\"factor\":0}",
    "is 0 but must be a number from 1.0 to 1000000.0"),
  InvalidField(
    llama, inside: "rope_scaling", "high_freq_factor",
    "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4}",
    "is 4 but must be above low_freq_factor (4.0)"),
  InvalidField(
    ConfigText.gpt2, "scale_attn_weights", "false",
    "is false but must be true, the only kind this version runs"),
  InvalidField(
    ConfigText.gpt2, "scale_attn_by_inverse_layer_idx", "true",
    "is true but must be false, the only kind this version runs"),
  InvalidField(
    ConfigText.gpt2, "n_head", "5", "is 5 but must be a divisor of the hidden size (64)"),
  InvalidField(
    ConfigText.bloom, "apply_residual_connection_post_layernorm", "true",
    "is true but must be false, the only kind this version runs"),
  InvalidField(
    ConfigText.gptNeoX, "partial_rotary_factor", "0.2",
    "is 3 but must be such that an even number of each head's 16 lanes rotates"),
  InvalidField(
    ConfigText.opt, "ffn_dim", "{}", "is an object but must be an integer from 1 to 1048576"),
]

@Suite struct `Invalid configurations` {
  @Test(arguments: numbers + choices)
  func `a field with an impossible value is named with both sides`(field: InvalidField) throws {
    let folder = try TemporaryFolder()
    #expect(message(in: folder) { _ = try parse(field.text) } == field.message)
  }

  @Test(arguments: ["0", "-1", "\"8\"", "16777217"])
  func `a window that is no positive number is refused`(value: String) throws {
    #expect(throws: CheckpointError.self) {
      try parse(ConfigText.mistral + ",\"sliding_window\":\(value)")
    }
  }

  @Test(arguments: ["0", "-1", "1e400", "\"1e4\"", "null", "1e13"])
  func `a rope theta that is no positive number is refused`(value: String) throws {
    let folder = try TemporaryFolder()
    let text = message(in: folder) { _ = try parse(llama + ",\"rope_theta\":\(value)") }
    #expect(text.hasPrefix("'rope_theta' in 'config.json' is "))
    #expect(text.hasSuffix(" to 1000000000000.0"))
  }

  @Test func `a size that is missing is named`() throws {
    let folder = try TemporaryFolder()
    #expect(
      message(in: folder) { _ = try parse("\"model_type\":\"opt\"") }
        == "'hidden_size' in 'config.json' is missing \(sizeOfHidden)")
    #expect(
      message(in: folder) { _ = try parse("\"hidden_size\":64") }
        == "'model_type' in 'config.json' is missing but must be the name of an architecture")
  }

  @Test func `an unknown architecture is refused with the known ones`() throws {
    let folder = try TemporaryFolder()
    #expect(
      message(in: folder) { _ = try parse("\"model_type\":\"gpt_j\\u001b\"") }
        == "architecture 'gpt_j\\u{1b}' is not supported; this version runs "
        + "opt, llama, mistral, qwen2, gpt2, gpt_neox, bloom")
  }

  @Test func `quantized weights are refused by their method's name`() throws {
    let folder = try TemporaryFolder()
    #expect(
      message(in: folder) {
        _ = try parse(llama + ",\"quantization_config\":{\"quant_method\":\"fp8\"}")
      }
        == "'config.json' cannot be used: its weights are quantized by 'fp8' and this version reads "
        + "gptq and awq; use the full-precision copy")
  }

  @Test(arguments: ["", "[]", "{", "{\"a\":NaN}", "{\"a\":1,\"a\":2}", "{} {}", "{\"a\":1,}"])
  func `a file that is no strict JSON object is refused`(text: String) throws {
    #expect(throws: CheckpointError.self) {
      try ModelConfig(text: Array(text.utf8), file: "config.json")
    }
  }

  @Test func `a duplicate field is refused`() throws {
    let folder = try TemporaryFolder()
    let text = message(in: folder) { _ = try parse(llama + ",\"hidden_size\":64") }
    #expect(text.contains("duplicate key 'hidden_size' at byte"))
  }

  @Test func `heads that are wide and many are bounded together`() throws {
    let folder = try TemporaryFolder()
    let text = message(in: folder) {
      _ = try parse(
        """
        "model_type":"llama","hidden_size":64,"intermediate_size":176,"num_hidden_layers":3,\
        "num_attention_heads":16384,"vocab_size":320,"head_dim":16384
        """)
    }
    #expect(
      text == "'head_dim' in 'config.json' is 16384 but must be "
        + "at most 262144 over all heads together")
  }
}
