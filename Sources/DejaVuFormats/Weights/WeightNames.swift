/// Under which names and in which layout a family's checkpoints store each weight.
///
/// Together with `ModelConfig` the only place that knows Hugging Face's words. Names of a layer
/// follow `layer` and the layer's number.
struct WeightNames: Sendable {
  /// How query, key and value are stored.
  enum Attention: Sendable {
    /// Three tensors.
    case separate(query: String, key: String, value: String)
    /// One tensor: all queries, then all keys, then all values.
    case stacked(String)
    /// One tensor: for each head its query, key and value.
    case interleaved(String)
  }

  /// What may stand before every name but the head's, in order of preference: checkpoints are
  /// published with and without the wrapper class's name.
  let prefixes: [String]
  let tokenEmbedding: String
  var positionEmbedding = ""
  var embeddingNorm = ""
  let finalNorm: String
  var head = "lm_head"
  let layer: String
  let attentionNorm: String
  let mlpNorm: String
  let attention: Attention
  let output: String
  var gate = ""
  let up: String
  let down: String
  /// Whether matrices of a layer are stored `[in, out]`, against the usual `[out, in]`.
  var storesInputsFirst = false
  /// Ends of names that some files hold and nobody needs: constants computed from the sizes.
  var harmless: [String] = []
}

extension WeightNames {
  static func of(_ family: Family) -> WeightNames {
    switch family {
    case .opt: opt
    case .llama, .mistral, .qwen2: llama
    case .gpt2: gpt2
    case .gptNeoX: gptNeoX
    case .bloom: bloom
    }
  }

  private static let opt = WeightNames(
    prefixes: ["model.decoder.", "decoder.", ""],
    tokenEmbedding: "embed_tokens", positionEmbedding: "embed_positions",
    finalNorm: "final_layer_norm", layer: "layers.",
    attentionNorm: "self_attn_layer_norm", mlpNorm: "final_layer_norm",
    attention: .separate(
      query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj"),
    output: "self_attn.out_proj", up: "fc1", down: "fc2", harmless: ["decoder.version"])

  private static let llama = WeightNames(
    prefixes: ["model.", ""],
    tokenEmbedding: "embed_tokens", finalNorm: "norm", layer: "layers.",
    attentionNorm: "input_layernorm", mlpNorm: "post_attention_layernorm",
    attention: .separate(
      query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj"),
    output: "self_attn.o_proj", gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj",
    harmless: ["rotary_emb.inv_freq"])

  private static let gpt2 = WeightNames(
    prefixes: ["transformer.", ""],
    tokenEmbedding: "wte", positionEmbedding: "wpe", finalNorm: "ln_f", layer: "h.",
    attentionNorm: "ln_1", mlpNorm: "ln_2", attention: .stacked("attn.c_attn"),
    output: "attn.c_proj", up: "mlp.c_fc", down: "mlp.c_proj", storesInputsFirst: true,
    harmless: [".attn.bias", ".attn.masked_bias"])

  private static let gptNeoX = WeightNames(
    prefixes: ["gpt_neox.", ""],
    tokenEmbedding: "embed_in", finalNorm: "final_layer_norm", head: "embed_out",
    layer: "layers.", attentionNorm: "input_layernorm", mlpNorm: "post_attention_layernorm",
    attention: .interleaved("attention.query_key_value"), output: "attention.dense",
    up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h",
    harmless: [".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"])

  private static let bloom = WeightNames(
    prefixes: ["transformer.", ""],
    tokenEmbedding: "word_embeddings", embeddingNorm: "word_embeddings_layernorm",
    finalNorm: "ln_f", layer: "h.",
    attentionNorm: "input_layernorm", mlpNorm: "post_attention_layernorm",
    attention: .interleaved("self_attention.query_key_value"), output: "self_attention.dense",
    up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h")
}
