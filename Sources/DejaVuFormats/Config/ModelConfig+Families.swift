import DejaVuCore
import DejaVuJSON

extension ConfigReader {
  func architecture(_ family: Family) throws(CheckpointError) -> Architecture {
    switch family {
    case .opt: try opt()
    case .llama: try llama()
    case .mistral: try mistral()
    case .qwen2: try qwen2()
    case .gpt2: try gpt2()
    case .gptNeoX: try gptNeoX()
    case .bloom: try bloom()
    }
  }

  // MARK: OPT

  private func opt() throws(CheckpointError) -> Architecture {
    let sizes = try Sizes(self, neurons: "ffn_dim")
    let isPreNorm = try boolean("do_layer_norm_before", default: true)
    let hasBias = try boolean("enable_bias", default: true)
    let isAffine = try boolean("layer_norm_elementwise_affine", default: true)
    let removesFinalNorm = try boolean("_remove_final_layer_norm", default: false)
    return Architecture(
      family: Family.opt.rawValue, layers: sizes.layers, hidden: sizes.hidden,
      heads: sizes.heads, kvHeads: sizes.heads, headWidth: try dividedHeadWidth(sizes),
      neurons: sizes.neurons, vocabulary: sizes.vocabulary,
      embeddingWidth: try optionalInteger("word_embed_proj_dim", in: Caps.hidden) ?? sizes.hidden,
      context: try integer("max_position_embeddings", in: Caps.context, default: 2048),
      normalization: Normalization(
        kind: .layer, epsilon: 1e-5, hasWeight: isAffine, hasBias: isAffine),
      blockOrder: isPreNorm ? .preNorm : .postNorm,
      hasFinalNorm: isPreNorm && !removesFinalNorm, hasEmbeddingNorm: false,
      activation: try activation("activation_function", default: "relu"), isGated: false,
      positions: .learned(offset: 2),
      biases: Biases(queryKeyValue: hasBias, attentionOutput: hasBias, mlp: hasBias),
      tiesHead: try boolean("tie_word_embeddings", default: true), slidingWindow: nil)
  }

  // MARK: Llama and its kin

  private func llama() throws(CheckpointError) -> Architecture {
    let attentionBias = try boolean("attention_bias", default: false)
    let mlpBias = try boolean("mlp_bias", default: false)
    return try llamaLike(
      .llama, context: 2048, window: nil,
      biases: Biases(queryKeyValue: attentionBias, attentionOutput: attentionBias, mlp: mlpBias))
  }

  private func mistral() throws(CheckpointError) -> Architecture {
    // Absent means 4096, the family's first model; null means no window.
    let window = json["sliding_window"] == nil ? 4096 : try slidingWindow()
    return try llamaLike(
      .mistral, context: 4096 * 32, window: try windowByLayer(window),
      biases: Biases(queryKeyValue: false, attentionOutput: false, mlp: false))
  }

  private func qwen2() throws(CheckpointError) -> Architecture {
    let isWindowed = try boolean("use_sliding_window", default: false)
    let layers = try integer("num_hidden_layers", in: Caps.layers)
    let firstWindowed = try integer("max_window_layers", in: 0...1 << 24, default: 28)
    var window = isWindowed ? try slidingWindow() : nil
    if json["layer_types"] == nil || json["layer_types"]?.isNull == true {
      guard window == nil || firstWindowed == 0 || firstWindowed >= layers else {
        throw .unsupported(file: file, reason: "only some layers see a sliding window")
      }
      window = firstWindowed == 0 ? window : nil
    }
    return try llamaLike(
      .qwen2, context: 32768, window: try windowByLayer(window),
      biases: Biases(queryKeyValue: true, attentionOutput: false, mlp: false))
  }

  private func llamaLike(
    _ family: Family, context: Int, window: Int?, biases: Biases
  ) throws(CheckpointError) -> Architecture {
    let sizes = try Sizes(self, neurons: "intermediate_size")
    let kvHeads = try optionalInteger("num_key_value_heads", in: Caps.heads) ?? sizes.heads
    guard sizes.heads % kvHeads == 0 else {
      throw invalid(
        "num_key_value_heads", json["num_key_value_heads"],
        "a divisor of num_attention_heads (\(sizes.heads))")
    }
    let headWidth: Int
    if let stated = try optionalInteger("head_dim", in: Caps.headWidth) {
      headWidth = stated
      guard Caps.headLanes.contains(stated * sizes.heads) else {
        throw invalid("head_dim", json["head_dim"], "at most 262144 over all heads together")
      }
    } else {
      headWidth = try dividedHeadWidth(sizes)
    }
    return Architecture(
      family: family.rawValue, layers: sizes.layers, hidden: sizes.hidden, heads: sizes.heads,
      kvHeads: kvHeads, headWidth: headWidth, neurons: sizes.neurons,
      vocabulary: sizes.vocabulary, embeddingWidth: sizes.hidden,
      context: try integer("max_position_embeddings", in: Caps.context, default: context),
      normalization: Normalization(
        kind: .rootMeanSquare, epsilon: try epsilon("rms_norm_eps", default: 1e-6), hasBias: false),
      blockOrder: .preNorm, hasFinalNorm: true, hasEmbeddingNorm: false,
      activation: try activation("hidden_act", default: "silu"), isGated: true,
      positions: .rotary(try rotary(headWidth: headWidth, partial: 1, mayBePartial: false)),
      biases: biases, tiesHead: try boolean("tie_word_embeddings", default: false),
      slidingWindow: window)
  }

  private func slidingWindow() throws(CheckpointError) -> Int? {
    try optionalInteger("sliding_window", in: Caps.context)
  }

  /// `window` where `layer_types`, if present, says that all layers or none have it.
  private func windowByLayer(_ window: Int?) throws(CheckpointError) -> Int? {
    guard let value = json["layer_types"], !value.isNull else { return window }
    let types = Set((value.elements ?? []).map { $0.text ?? "" })
    if types == ["full_attention"] { return nil }
    if types == ["sliding_attention"], window != nil { return window }
    throw .unsupported(
      file: file, reason: "'layer_types' is not the same full or sliding attention in every layer")
  }

  // MARK: GPT-2

  private func gpt2() throws(CheckpointError) -> Architecture {
    try require("scale_attn_weights", true)
    try require("scale_attn_by_inverse_layer_idx", false)
    try require("add_cross_attention", false)
    let hidden = try integer("n_embd", "hidden_size", in: Caps.hidden)
    let sizes = Sizes(
      hidden: hidden, layers: try integer("n_layer", "num_hidden_layers", in: Caps.layers),
      heads: try integer("n_head", "num_attention_heads", in: Caps.heads),
      neurons: try optionalInteger("n_inner", in: Caps.neurons) ?? 4 * hidden,
      vocabulary: try integer("vocab_size", in: Caps.vocabulary))
    return Architecture(
      family: Family.gpt2.rawValue, layers: sizes.layers, hidden: hidden, heads: sizes.heads,
      kvHeads: sizes.heads, headWidth: try dividedHeadWidth(sizes, "n_head"),
      neurons: sizes.neurons, vocabulary: sizes.vocabulary, embeddingWidth: hidden,
      context: try integer(
        "n_positions", "max_position_embeddings", in: Caps.context, default: 1024),
      normalization: Normalization(
        kind: .layer, epsilon: try epsilon("layer_norm_epsilon", default: 1e-5), hasBias: true),
      blockOrder: .preNorm, hasFinalNorm: true, hasEmbeddingNorm: false,
      activation: try activation("activation_function", default: "gelu_new"), isGated: false,
      positions: .learned(offset: 0),
      biases: Biases(queryKeyValue: true, attentionOutput: true, mlp: true),
      tiesHead: try boolean("tie_word_embeddings", default: true), slidingWindow: nil)
  }

  // MARK: GPT-NeoX

  private func gptNeoX() throws(CheckpointError) -> Architecture {
    let sizes = try Sizes(self, neurons: "intermediate_size")
    let headWidth = try dividedHeadWidth(sizes)
    let attentionBias = try boolean("attention_bias", default: true)
    let isParallel = try boolean("use_parallel_residual", default: true)
    return Architecture(
      family: Family.gptNeoX.rawValue, layers: sizes.layers, hidden: sizes.hidden,
      heads: sizes.heads, kvHeads: sizes.heads, headWidth: headWidth, neurons: sizes.neurons,
      vocabulary: sizes.vocabulary, embeddingWidth: sizes.hidden,
      context: try integer("max_position_embeddings", in: Caps.context, default: 2048),
      normalization: Normalization(
        kind: .layer, epsilon: try epsilon("layer_norm_eps", default: 1e-5), hasBias: true),
      blockOrder: isParallel ? .parallel : .preNorm, hasFinalNorm: true, hasEmbeddingNorm: false,
      activation: try activation("hidden_act", default: "gelu"), isGated: false,
      positions: .rotary(try rotary(headWidth: headWidth, partial: 0.25, mayBePartial: true)),
      biases: Biases(queryKeyValue: attentionBias, attentionOutput: attentionBias, mlp: true),
      tiesHead: try boolean("tie_word_embeddings", default: false), slidingWindow: nil)
  }

  // MARK: BLOOM

  private func bloom() throws(CheckpointError) -> Architecture {
    try require("apply_residual_connection_post_layernorm", false)
    let hidden = try integer("hidden_size", "n_embed", in: Caps.hidden)
    let sizes = Sizes(
      hidden: hidden, layers: try integer("n_layer", "num_hidden_layers", in: Caps.layers),
      heads: try integer("n_head", "num_attention_heads", in: Caps.heads),
      neurons: 4 * hidden, vocabulary: try integer("vocab_size", in: Caps.vocabulary))
    return Architecture(
      family: Family.bloom.rawValue, layers: sizes.layers, hidden: hidden, heads: sizes.heads,
      kvHeads: sizes.heads, headWidth: try dividedHeadWidth(sizes, "n_head"),
      neurons: sizes.neurons, vocabulary: sizes.vocabulary, embeddingWidth: hidden,
      context: try optionalInteger("seq_length", in: Caps.context) ?? 2048,
      normalization: Normalization(
        kind: .layer, epsilon: try epsilon("layer_norm_epsilon", default: 1e-5), hasBias: true),
      blockOrder: .preNorm, hasFinalNorm: true, hasEmbeddingNorm: true,
      activation: .geluTanh, isGated: false, positions: .alibi,
      biases: Biases(queryKeyValue: true, attentionOutput: true, mlp: true),
      tiesHead: try boolean("tie_word_embeddings", default: true), slidingWindow: nil)
  }
}
