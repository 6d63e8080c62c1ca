import DejaVuCore
import DejaVuFormats
import Testing

private typealias Layer = WeightRole.LayerRole

/// Writes F32 tensors whose elements count up from 0, and returns their entries.
private func counting(
  _ shapes: [(String, [Int])], in folder: TemporaryFolder
) throws -> [String: TensorEntry] {
  let path = folder.path + "/counting.safetensors"
  let writer = try SafetensorsWriter(
    path: path,
    tensors: shapes.map { SafetensorsDeclaration(name: $0.0, type: .float32, shape: $0.1) })
  for (name, shape) in shapes {
    try writer.append((0..<shape.reduce(1, *)).map { Float($0) }, to: name)
  }
  try writer.finish()
  let entries = try SafetensorsFile(path: path).entries
  return Dictionary(entries.map { ($0.name, $0) }) { first, _ in first }
}

@Suite struct `Weight map` {
  @Test(arguments: Golden.names)
  func `every weight of a golden checkpoint is found with its own shape`(name: String) throws {
    let checkpoint = try Checkpoint.open(folder: Golden.folder(name))
    let a = checkpoint.architecture
    let lanes = a.heads * a.headWidth
    let kvLanes = a.kvHeads * a.headWidth
    func shape(_ role: WeightRole) -> [Int]? {
      checkpoint.views[role].map { [$0.rows, $0.columns] }
    }
    #expect(checkpoint.warnings.filter { !$0.contains("vocabulary") } == [])
    #expect(shape(.tokenEmbedding) == [a.vocabulary, a.embeddingWidth])
    #expect(shape(.head) == (a.tiesHead ? nil : [a.vocabulary, a.embeddingWidth]))
    #expect(shape(.finalNorm(.weight)) == (a.hasFinalNorm ? [a.hidden, 1] : nil))
    for index in 0..<a.layers {
      #expect(shape(.layer(index, .query)) == [lanes, a.hidden])
      #expect(shape(.layer(index, .key)) == [kvLanes, a.hidden])
      #expect(shape(.layer(index, .value)) == [kvLanes, a.hidden])
      #expect(shape(.layer(index, .output)) == [lanes, a.hidden])
      #expect(shape(.layer(index, .gate)) == (a.isGated ? [a.neurons, a.hidden] : nil))
      #expect(shape(.layer(index, .up)) == [a.neurons, a.hidden])
      #expect(shape(.layer(index, .down)) == [a.neurons, a.hidden])
      #expect(shape(.layer(index, .keyBias)) == (a.biases.queryKeyValue ? [kvLanes, 1] : nil))
      #expect(shape(.layer(index, .downBias)) == (a.biases.mlp ? [a.hidden, 1] : nil))
      #expect(shape(.layer(index, .attentionNorm(.weight))) == [a.hidden, 1])
    }
    #expect(shape(.layer(a.layers, .query)) == nil)
  }

  @Test(arguments: Golden.names)
  func `the views of a golden checkpoint read every stored element once`(name: String) throws {
    let checkpoint = try Checkpoint.open(folder: Golden.folder(name))
    var elements: [String: Int] = [:]
    var sums: [String: Double] = [:]
    for view in checkpoint.views.values {
      let entry = try #require(checkpoint.tensors[view.tensor])
      #expect(entry.dtype == .float32)
      #expect(view.isInside(elements: entry.range.count / 4))
      elements[view.tensor, default: 0] += view.rows * view.columns
      for row in 0..<view.rows {
        sums[view.tensor, default: 0] += WeightMap.row(row, of: view, in: entry)
          .reduce(0) { $0 + Double($1) }
      }
    }
    #expect(Set(elements.keys) == Set(checkpoint.tensors.keys))
    for (tensor, entry) in checkpoint.tensors {
      let count = entry.range.count / 4
      #expect(elements[tensor] == count)
      let all = TensorView(
        tensor: tensor, storedShape: [count], rows: 1, columns: count, rowStride: count)
      let sum = WeightMap.row(0, of: all, in: entry).reduce(0) { $0 + Double($1) }
      // Both sums have at most 20,480 terms below 10, rounded to 53 bits.
      #expect(abs(sum - (sums[tensor] ?? .nan)) < 1e-9)
    }
  }

  @Test func `GPT-2 keeps inputs first and stacks query, key and value`() throws {
    let folder = try TemporaryFolder()
    let architecture = try parse(
      """
      "model_type":"gpt2","n_embd":4,"n_layer":1,"n_head":2,"vocab_size":5,"n_positions":3,\
      "n_inner":6
      """
    ).architecture
    let layer = "h.0."
    let tensors = try counting(
      [
        ("wte.weight", [5, 4]), ("wpe.weight", [3, 4]), ("ln_f.weight", [4]), ("ln_f.bias", [4]),
        (layer + "ln_1.weight", [4]), (layer + "ln_1.bias", [4]), (layer + "ln_2.weight", [4]),
        (layer + "ln_2.bias", [4]), (layer + "attn.c_attn.weight", [4, 12]),
        (layer + "attn.c_attn.bias", [12]), (layer + "attn.c_proj.weight", [4, 4]),
        (layer + "attn.c_proj.bias", [4]), (layer + "mlp.c_fc.weight", [4, 6]),
        (layer + "mlp.c_fc.bias", [6]), (layer + "mlp.c_proj.weight", [6, 4]),
        (layer + "mlp.c_proj.bias", [4]), (layer + "attn.bias", [1, 1, 3, 3]),
      ], in: folder)
    let views = try WeightMap.views(for: architecture, tensors: tensors)
    func row(_ role: Layer, _ index: Int) throws -> [Float] {
      let view = try #require(views[.layer(0, role)])
      return WeightMap.row(index, of: view, in: try #require(tensors[view.tensor]))
    }
    #expect(try row(.query, 1) == [1, 13, 25, 37])
    #expect(try row(.key, 0) == [4, 16, 28, 40])
    #expect(try row(.value, 3) == [11, 23, 35, 47])
    #expect(try row(.keyBias, 2) == [6])
    #expect(try row(.output, 2) == [8, 9, 10, 11])
    #expect(try row(.up, 5) == [5, 11, 17, 23])
    #expect(try row(.down, 5) == [20, 21, 22, 23])
    #expect(try WeightMap.extras(for: architecture, tensors: tensors) == [])
  }

  @Test func `BLOOM and GPT-NeoX keep a head's query, key and value together`() throws {
    let folder = try TemporaryFolder()
    let architecture = try parse(
      """
      "model_type":"gpt_neox","hidden_size":4,"num_hidden_layers":1,"num_attention_heads":2,\
      "vocab_size":5,"intermediate_size":6,"rotary_pct":1.0
      """
    ).architecture
    let layer = "gpt_neox.layers.0."
    var shapes: [(String, [Int])] = [
      ("gpt_neox.embed_in.weight", [5, 4]), ("embed_out.weight", [5, 4]),
      (layer + "attention.query_key_value.weight", [12, 4]),
      (layer + "attention.query_key_value.bias", [12]),
      (layer + "attention.dense.weight", [4, 4]), (layer + "attention.dense.bias", [4]),
      (layer + "mlp.dense_h_to_4h.weight", [6, 4]), (layer + "mlp.dense_h_to_4h.bias", [6]),
      (layer + "mlp.dense_4h_to_h.weight", [4, 6]), (layer + "mlp.dense_4h_to_h.bias", [4]),
      (layer + "attention.masked_bias", []), (layer + "attention.rotary_emb.inv_freq", [1]),
      (layer + "attention.surprise", [1]),
    ]
    for norm in ["gpt_neox.final_layer_norm", layer + "input_layernorm"]
      + [layer + "post_attention_layernorm"]
    {
      shapes += [(norm + ".weight", [4]), (norm + ".bias", [4])]
    }
    let tensors = try counting(shapes, in: folder)
    let views = try WeightMap.views(for: architecture, tensors: tensors)
    func row(_ role: Layer, _ index: Int) throws -> [Float] {
      let view = try #require(views[.layer(0, role)])
      return WeightMap.row(index, of: view, in: try #require(tensors[view.tensor]))
    }
    // Stored rows: q0 q1 k0 k1 v0 v1 of head 0, then those of head 1.
    #expect(try row(.query, 1) == [4, 5, 6, 7])
    #expect(try row(.query, 2) == [24, 25, 26, 27])
    #expect(try row(.key, 0) == [8, 9, 10, 11])
    #expect(try row(.value, 3) == [44, 45, 46, 47])
    #expect(try (0..<4).map { try row(.keyBias, $0)[0] } == [2, 3, 8, 9])
    #expect(try row(.output, 1) == [1, 5, 9, 13])
    #expect(try row(.down, 4) == [4, 10, 16, 22])
    #expect(
      try WeightMap.extras(for: architecture, tensors: tensors) == [layer + "attention.surprise"])
  }

  @Test func `16-bit weights read as the values they stand for`() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/m.safetensors"
    let writer = try SafetensorsWriter(
      path: path,
      tensors: [
        SafetensorsDeclaration(name: "h", type: .float16, shape: [2, 2]),
        SafetensorsDeclaration(name: "b", type: .bfloat16, shape: [2, 2]),
      ])
    try writer.append([0x3C00, 0x0001, 0x7C00, 0xBC00] as [UInt16], to: "h")
    try writer.append([0x3F80, 0x4000, 0xC0A0, 0x0000] as [UInt16], to: "b")
    try writer.finish()
    let entries = try SafetensorsFile(path: path).entries
    let columns = TensorView(
      tensor: "", storedShape: [2, 2], rows: 2, columns: 2, rowStride: 1, columnStride: 2)
    #expect(WeightMap.row(0, of: columns, in: entries[0]) == [1, .infinity])
    #expect(WeightMap.row(1, of: columns, in: entries[0]) == [0x1p-24, -1])
    #expect(WeightMap.row(0, of: columns, in: entries[1]) == [1, -5])
  }

  @Test func `a view is inside exactly when its furthest element is`() {
    func view(
      rows: Int = 2, columns: Int = 3, offset: Int = 0, blockRows: Int? = nil,
      blockStride: Int = 0, rowStride: Int = 3, columnStride: Int = 1
    ) -> TensorView {
      TensorView(
        tensor: "t", storedShape: [], rows: rows, columns: columns, offset: offset,
        blockRows: blockRows, blockStride: blockStride, rowStride: rowStride,
        columnStride: columnStride)
    }
    #expect(view().isInside(elements: 6))
    #expect(!view().isInside(elements: 5))
    #expect(!view(offset: 1).isInside(elements: 6))
    #expect(!view(offset: -1).isInside(elements: 6))
    #expect(!view(rowStride: -1).isInside(elements: 6))
    #expect(!view(rows: -1).isInside(elements: 6))
    #expect(!view(blockRows: 0).isInside(elements: 6))
    #expect(view(rows: 0).isInside(elements: 0))
    #expect(view(rows: 3, blockRows: 2, blockStride: 4, rowStride: 3).isInside(elements: 7))
    #expect(!view(rows: 3, blockRows: 2, blockStride: 1, rowStride: 9).isInside(elements: 11))
    #expect(view(rows: 3, blockRows: 2, blockStride: 1, rowStride: 9).isInside(elements: 12))
    #expect(!view(rowStride: .max).isInside(elements: .max))
    #expect(!view(columns: .max, columnStride: .max).isInside(elements: .max))
    #expect(!view(offset: .max).isInside(elements: .max))
  }
}
