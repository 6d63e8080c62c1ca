import DejaVuCore
import DejaVuFormats
import Foundation
import Testing

/// A configuration of each family with every size its own, so that none can pass for another.
enum ConfigText {
  static let llama = """
    "model_type":"llama","hidden_size":64,"intermediate_size":176,"num_hidden_layers":3,\
    "num_attention_heads":8,"vocab_size":320
    """
  static let opt = """
    "model_type":"opt","hidden_size":64,"ffn_dim":256,"num_hidden_layers":3,\
    "num_attention_heads":4,"vocab_size":320
    """
  static let gpt2 = """
    "model_type":"gpt2","n_embd":64,"n_layer":3,"n_head":4,"vocab_size":320
    """
  static let gptNeoX = """
    "model_type":"gpt_neox","hidden_size":64,"intermediate_size":200,"num_hidden_layers":3,\
    "num_attention_heads":4,"vocab_size":320
    """
  static let bloom = """
    "model_type":"bloom","n_embed":64,"n_layer":3,"num_attention_heads":4,"vocab_size":320
    """
  static let mistral = llama.replacing("llama", with: "mistral")
  static let qwen2 = llama.replacing("llama", with: "qwen2")
}

func parse(_ members: String) throws -> ModelConfig {
  try ModelConfig(text: Array("{\(members)}".utf8), file: "config.json")
}

/// As `parse`, with one more member.
private func parse(_ members: String, _ more: String) throws -> Architecture {
  try parse("\(members),\(more)").architecture
}

private func rotary(_ architecture: Architecture) -> Rotary? {
  if case .rotary(let rotary) = architecture.positions { rotary } else { nil }
}

@Suite struct `Model configurations` {
  @Test func `OPT reads as pre-norm with biases and an offset of 2`() throws {
    let plain = try parse(ConfigText.opt).architecture
    #expect(plain.blockOrder == .preNorm)
    #expect(plain.hasFinalNorm && plain.tiesHead && !plain.isGated)
    #expect(plain.positions == .learned(offset: 2))
    #expect(plain.biases == Biases(queryKeyValue: true, attentionOutput: true, mlp: true))
    #expect(plain.normalization == Normalization(kind: .layer, epsilon: 1e-5, hasBias: true))
    #expect(plain.activation == .relu)
    #expect((plain.embeddingWidth, plain.headWidth, plain.context) == (64, 16, 2048))
  }

  @Test func `OPT's switches change the parts that they name`() throws {
    let postNorm = try parse(ConfigText.opt, "\"do_layer_norm_before\":false")
    #expect(postNorm.blockOrder == .postNorm && !postNorm.hasFinalNorm)
    #expect(try !parse(ConfigText.opt, "\"_remove_final_layer_norm\":true").hasFinalNorm)
    let galactica = try parse(
      ConfigText.opt,
      "\"enable_bias\":false,\"layer_norm_elementwise_affine\":false,\"activation_function\":\"gelu\""
    )
    #expect(galactica.biases == Biases(queryKeyValue: false, attentionOutput: false, mlp: false))
    #expect(!galactica.normalization.hasWeight && !galactica.normalization.hasBias)
    #expect(galactica.activation == .gelu)
    #expect(try parse(ConfigText.opt, "\"word_embed_proj_dim\":32").projectsEmbedding)
    #expect(try !parse(ConfigText.opt, "\"word_embed_proj_dim\":null").projectsEmbedding)
  }

  @Test func `Llama's defaults are those of its own code`() throws {
    let plain = try parse(ConfigText.llama).architecture
    #expect((plain.kvHeads, plain.headWidth, plain.context) == (8, 8, 2048))
    #expect(
      plain.normalization == Normalization(kind: .rootMeanSquare, epsilon: 1e-6, hasBias: false))
    #expect(plain.activation == .silu && plain.isGated && !plain.tiesHead)
    #expect(rotary(plain) == Rotary(theta: 10000, width: 8))
    #expect(plain.biases == Biases(queryKeyValue: false, attentionOutput: false, mlp: false))
    #expect(plain.slidingWindow == nil)
  }

  @Test func `Llama's options change the parts that they name`() throws {
    let biased = try parse(ConfigText.llama, "\"attention_bias\":true,\"mlp_bias\":true")
    #expect(biased.biases == Biases(queryKeyValue: true, attentionOutput: true, mlp: true))
    let wide = try parse(ConfigText.llama, "\"head_dim\":24,\"num_key_value_heads\":2")
    #expect((wide.headWidth, wide.kvHeads, wide.headsPerGroup) == (24, 2, 4))
    #expect(rotary(wide)?.width == 24)
    #expect(try parse(ConfigText.llama, "\"hidden_act\":\"relu\"").activation == .relu)
    #expect(try parse(ConfigText.llama, "\"tie_word_embeddings\":true").tiesHead)
  }

  @Test(arguments: [
    ("relu", Activation.relu), ("gelu", .gelu), ("gelu_python", .gelu), ("gelu_new", .geluTanh),
    ("gelu_fast", .geluTanh), ("gelu_pytorch_tanh", .geluTanh), ("silu", .silu), ("swish", .silu),
  ])
  func `an activation is known by its published name`(name: String, expected: Activation) throws {
    #expect(
      try parse(ConfigText.gpt2, "\"activation_function\":\"\(name)\"").activation == expected)
  }

  @Test func `old and new spellings of rope mean the same`() throws {
    let old = try parse(
      ConfigText.llama,
      "\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}")
    let new = try parse(
      ConfigText.llama,
      "\"rope_parameters\":{\"rope_theta\":500000.0,\"rope_type\":\"linear\",\"factor\":4.0}")
    #expect(rotary(old) == Rotary(theta: 500_000, width: 8, scaling: .linear(factor: 4)))
    #expect(rotary(new) == rotary(old))
    let null = try parse(ConfigText.llama, "\"rope_theta\":7,\"rope_scaling\":null")
    #expect(rotary(null) == Rotary(theta: 7, width: 8))
    let llama3 = try parse(
      ConfigText.llama,
      """
      "rope_theta":5e5,"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,\
      "high_freq_factor":4,"original_max_position_embeddings":64}
      """)
    #expect(
      rotary(llama3)?.scaling
        == .llama3(factor: 8, lowFrequency: 1, highFrequency: 4, original: 64))
  }

  @Test func `Mistral's window may be set, null or the family's own`() throws {
    #expect(try parse(ConfigText.mistral).architecture.slidingWindow == 4096)
    #expect(try parse(ConfigText.mistral, "\"sliding_window\":null").slidingWindow == nil)
    #expect(try parse(ConfigText.mistral, "\"sliding_window\":32").slidingWindow == 32)
  }

  @Test func `Qwen2 has biases on queries, keys and values, and a window only if it says so`()
    throws
  {
    let plain = try parse(ConfigText.qwen2, "\"sliding_window\":32")
    #expect(plain.biases == Biases(queryKeyValue: true, attentionOutput: false, mlp: false))
    #expect(plain.slidingWindow == nil)
    let windowed = "\"use_sliding_window\":true,\"sliding_window\":32,\"max_window_layers\":"
    #expect(try parse(ConfigText.qwen2, windowed + "0").slidingWindow == 32)
    #expect(try parse(ConfigText.qwen2, windowed + "3").slidingWindow == nil)
    #expect(throws: CheckpointError.self) { try parse(ConfigText.qwen2, windowed + "1") }
    let types = ",\"layer_types\":[\"sliding_attention\",\"sliding_attention\"]"
    #expect(try parse(ConfigText.qwen2, windowed + "1" + types).slidingWindow == 32)
    #expect(throws: CheckpointError.self) {
      try parse(
        ConfigText.qwen2,
        windowed + "1,\"layer_types\":[\"sliding_attention\",\"full_attention\"]")
    }
  }

  @Test func `GPT-2 has four times as many neurons where the file says null`() throws {
    let plain = try parse(ConfigText.gpt2, "\"n_inner\":null")
    #expect((plain.neurons, plain.context) == (256, 1024))
    #expect(plain.positions == .learned(offset: 0))
    #expect(plain.tiesHead && plain.activation == .geluTanh)
    #expect(try parse(ConfigText.gpt2, "\"n_inner\":100").neurons == 100)
  }

  @Test func `GPT-NeoX rotates part of each head, and its halves may run in parallel`() throws {
    let plain = try parse(ConfigText.gptNeoX).architecture
    #expect(plain.blockOrder == .parallel && plain.activation == .gelu && !plain.tiesHead)
    #expect(rotary(plain)?.width == 4)
    let other = try parse(
      ConfigText.gptNeoX,
      "\"use_parallel_residual\":false,\"rotary_pct\":0.5,\"rotary_emb_base\":500")
    #expect(other.blockOrder == .preNorm)
    #expect(rotary(other) == Rotary(theta: 500, width: 8))
    let new = try parse(ConfigText.gptNeoX, "\"rope_parameters\":{\"partial_rotary_factor\":1.0}")
    #expect(rotary(new)?.width == 16)
  }

  @Test func `BLOOM has ALiBi, a norm after the embedding and the tanh GELU`() throws {
    let plain = try parse(ConfigText.bloom).architecture
    #expect(plain.positions == .alibi && plain.hasEmbeddingNorm && plain.tiesHead)
    #expect(plain.activation == .geluTanh)
    #expect((plain.hidden, plain.neurons, plain.heads, plain.context) == (64, 256, 4, 2048))
    #expect(try parse(ConfigText.bloom, "\"seq_length\":512").context == 512)
  }

  @Test func `code that a checkpoint names is ignored with a notice`() throws {
    let config = try parse(
      ConfigText.llama + ",\"architectures\":[\"X\"],\"auto_map\":{\"AutoModel\":\"evil.Model\"}")
    #expect(
      config.warnings
        == ["'auto_map' in config.json names code of the checkpoint; it is ignored and never run"])
    #expect(try parse(ConfigText.llama).warnings.isEmpty)
  }

  @Test(arguments: Golden.names)
  func `a golden configuration reads as its family`(name: String) throws {
    let config = try ModelConfig(path: Golden.folder(name) + "/config.json")
    #expect(config.warnings.isEmpty)
    #expect((config.architecture.hidden, config.architecture.vocabulary) == (64, 320))
    let isShort = ["tiny-llama3-rope", "tiny-mistral", "tiny-qwen2"].contains(name)
    #expect(config.architecture.layers == (isShort ? 2 : 3))
  }

  @Test func `the golden Llama 3 configuration scales its rope`() throws {
    let config = try ModelConfig(path: Golden.folder("tiny-llama3-rope") + "/config.json")
    #expect(
      rotary(config.architecture)
        == Rotary(
          theta: 500_000, width: 16,
          scaling: .llama3(factor: 8, lowFrequency: 1, highFrequency: 4, original: 64)))
  }
}
