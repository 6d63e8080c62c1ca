package import DejaVuCore

/// The engine's layout of a model as a list of named tensors: what `pack` writes and what loading
/// a checkpoint fills.
///
/// Matrices are `[rows, padded width]` in the checkpoint's type, or `[rows, row bytes]` of a
/// ``GroupwiseFormat``; a neuron's rows lie side by side in `mlp.bundle` `[F, 2 or 3, padded D]`;
/// vectors are float32, padded with zeros. Where the rows of `attention.output`, or the down rows of the
/// bundle, share scales, those are rows of a ``ScaleRowFormat`` in `attention.output_scales` and
/// `mlp.down_scales`. All start on a cache line.
package struct PackedLayout: Sendable {
  package struct Entry: Hashable, Sendable {
    package let name: String
    /// Stored dimensions, padding included; groupwise rows count in bytes.
    package let shape: [Int]
    package let format: WeightFormat
    /// Where the tensor starts when all lie one behind the other.
    package let offset: Int
    package let byteCount: Int

    /// The element type.
    ///
    /// - Precondition: the tensor is not groupwise.
    package var dtype: DType {
      guard let dtype = format.dtype else {
        preconditionFailure("\(name) is \(format.name) and has no element type")
      }
      return dtype
    }
    /// Bytes of the last dimension.
    package var rowBytes: Int { shape[shape.count - 1] * (format.dtype?.size ?? 1) }
  }

  package let architecture: Architecture
  package private(set) var entries: [Entry] = []
  package private(set) var byteCount = 0
  private var indexByName: [String: Int] = [:]

  /// Type of each group of matrices that kernels read together.
  package struct Types: Hashable, Sendable {
    package var embedding: WeightFormat
    package var positions: WeightFormat
    package var projections: WeightFormat
    package var head: WeightFormat
    package var attention: [WeightFormat]
    package var mlp: [WeightFormat]
    /// How rows of W_O and W2 share scales, where they do.
    package var outputScales: [ScaleRowFormat?]
    package var downScales: [ScaleRowFormat?]

    package init(uniform dtype: DType, layers: Int) {
      self.init(uniform: .plain(dtype), layers: layers)
    }

    package init(uniform format: WeightFormat, layers: Int) {
      embedding = format
      positions = format
      projections = format
      head = format
      attention = Array(repeating: format, count: layers)
      mlp = Array(repeating: format, count: layers)
      outputScales = Array(repeating: nil, count: layers)
      downScales = outputScales
    }
  }

  /// - Precondition: `architecture` has passed the checks of `ModelConfig`, so that sizes fit.
  package init(architecture: Architecture, types: Types) {
    self.architecture = architecture
    let a = architecture
    addMatrix("embed.tokens", rows: a.vocabulary, columns: a.embeddingWidth, types.embedding)
    if case .learned(let offset) = a.positions {
      addMatrix("embed.positions", rows: a.context + offset, columns: a.hidden, types.positions)
    }
    if a.hasEmbeddingNorm { addNorm("embed.norm") }
    if a.projectsEmbedding {
      addMatrix("project.in", rows: a.hidden, columns: a.embeddingWidth, types.projections)
      addMatrix("project.out", rows: a.embeddingWidth, columns: a.hidden, types.projections)
    }
    for layer in 0..<a.layers { addLayer(layer, types) }
    if a.hasFinalNorm { addNorm("final_norm") }
    if !a.tiesHead { addMatrix("head", rows: a.vocabulary, columns: a.embeddingWidth, types.head) }
  }

  private mutating func addLayer(_ layer: Int, _ types: Types) {
    let (a, prefix, attention) = (architecture, "layers.\(layer)", types.attention[layer])
    let (lanes, kvLanes) = (a.heads * a.headWidth, a.kvHeads * a.headWidth)
    addNorm("\(prefix).attention.norm")
    for (name, rows) in [("query", lanes), ("key", kvLanes), ("value", kvLanes), ("output", lanes)]
    {
      addMatrix("\(prefix).attention.\(name)", rows: rows, columns: a.hidden, attention)
    }
    addScales("\(prefix).attention.output_scales", rows: lanes, types.outputScales[layer])
    if a.biases.queryKeyValue {
      for (name, rows) in [("query", lanes), ("key", kvLanes), ("value", kvLanes)] {
        addVector("\(prefix).attention.\(name)_bias", count: rows)
      }
    }
    if a.biases.attentionOutput { addVector("\(prefix).attention.output_bias", count: a.hidden) }
    addNorm("\(prefix).mlp.norm")
    add(
      "\(prefix).mlp.bundle", rows: [a.neurons, a.rowsPerNeuron], columns: a.hidden,
      types.mlp[layer])
    addScales("\(prefix).mlp.down_scales", rows: a.neurons, types.downScales[layer])
    guard a.biases.mlp else { return }
    addVector("\(prefix).mlp.up_bias", count: a.neurons)
    if a.isGated { addVector("\(prefix).mlp.gate_bias", count: a.neurons) }
    addVector("\(prefix).mlp.down_bias", count: a.hidden)
  }

  private mutating func addNorm(_ name: String) {
    guard architecture.normalization.hasWeight else { return }
    addVector("\(name).weight", count: architecture.hidden)
    if architecture.normalization.hasBias { addVector("\(name).bias", count: architecture.hidden) }
  }

  private mutating func addMatrix(
    _ name: String, rows: Int, columns: Int, _ format: WeightFormat
  ) {
    add(name, rows: [rows], columns: columns, format)
  }

  private mutating func addScales(_ name: String, rows: Int, _ format: ScaleRowFormat?) {
    guard let format else { return }
    addMatrix(name, rows: format.count(rows), columns: architecture.hidden, .scales(format))
  }

  private mutating func addVector(_ name: String, count: Int) {
    add(name, rows: [], columns: count, .plain(.float32))
  }

  private mutating func add(_ name: String, rows: [Int], columns: Int, _ format: WeightFormat) {
    let bytes = rows.reduce(format.rowBytes(columns), *)
    indexByName[name] = entries.count
    entries.append(
      Entry(
        name: name, shape: rows + [format.rowBytes(columns) / (format.dtype?.size ?? 1)],
        format: format, offset: byteCount, byteCount: bytes))
    // Plain tensors fill whole lines by themselves.
    byteCount += (bytes + 63) / 64 * 64
  }

  package func entry(_ name: String) -> Entry? { indexByName[name].map { entries[$0] } }
}

extension PackedLayout {
  /// The model whose tensors lie where `locate` says.
  package func model(
    owner: any AnyObject & Sendable, locate: @escaping (Entry) -> UnsafeRawPointer
  ) -> PackedModel {
    let parts = Parts(layout: self, locate: locate)
    let a = architecture
    guard let tokens = parts.matrix("embed.tokens", columns: a.embeddingWidth) else {
      preconditionFailure("a layout always has embed.tokens")
    }
    return PackedModel(
      architecture: a, tokenEmbedding: tokens,
      positionEmbedding: parts.matrix("embed.positions", columns: a.hidden),
      embeddingNorm: a.hasEmbeddingNorm ? parts.norm("embed.norm") : nil,
      projectIn: parts.matrix("project.in", columns: a.embeddingWidth),
      projectOut: parts.matrix("project.out", columns: a.hidden),
      finalNorm: a.hasFinalNorm ? parts.norm("final_norm") : nil,
      head: parts.matrix("head", columns: a.embeddingWidth) ?? tokens,
      layers: (0..<a.layers).map { parts.layer($0) }, owner: owner)
  }

  private struct Parts {
    let layout: PackedLayout
    let locate: (Entry) -> UnsafeRawPointer

    func matrix(_ name: String, columns: Int, scales: String? = nil) -> RowMatrix? {
      guard let entry = layout.entry(name) else { return nil }
      return RowMatrix(
        base: locate(entry), format: entry.format, rows: entry.shape.dropLast().reduce(1, *),
        columns: columns, stride: entry.rowBytes, scales: scales.flatMap { self.scales($0) })
    }

    func scales(_ name: String) -> ScaleRows? {
      guard let entry = layout.entry(name), case .scales(let format) = entry.format else {
        return nil
      }
      return ScaleRows(
        base: locate(entry), format: format, count: entry.shape[0],
        columns: layout.architecture.hidden)
    }

    func vector(_ name: String) -> FloatVector? {
      guard let entry = layout.entry(name) else { return nil }
      return FloatVector(
        base: locate(entry).assumingMemoryBound(to: Float.self), count: entry.shape[0])
    }

    func norm(_ name: String) -> NormWeights {
      NormWeights(weight: vector("\(name).weight"), bias: vector("\(name).bias"))
    }

    func layer(_ index: Int) -> PackedLayer {
      let (a, prefix) = (layout.architecture, "layers.\(index)")
      func required(_ name: String, scales: String? = nil) -> RowMatrix {
        let scales = scales.map { "\(prefix).\($0)" }
        guard let matrix = matrix("\(prefix).\(name)", columns: a.hidden, scales: scales) else {
          preconditionFailure("a layout always has \(prefix).\(name)")
        }
        return matrix
      }
      var layer = PackedLayer(
        attentionNorm: norm("\(prefix).attention.norm"), mlpNorm: norm("\(prefix).mlp.norm"),
        query: required("attention.query"), key: required("attention.key"),
        value: required("attention.value"),
        output: required("attention.output", scales: "attention.output_scales"),
        bundle: NeuronBundle(
          matrix: required("mlp.bundle"), rowsPerNeuron: a.rowsPerNeuron,
          downScales: scales("\(prefix).mlp.down_scales")))
      layer.queryBias = vector("\(prefix).attention.query_bias")
      layer.keyBias = vector("\(prefix).attention.key_bias")
      layer.valueBias = vector("\(prefix).attention.value_bias")
      layer.outputBias = vector("\(prefix).attention.output_bias")
      layer.upBias = vector("\(prefix).mlp.up_bias")
      layer.gateBias = vector("\(prefix).mlp.gate_bias")
      layer.downBias = vector("\(prefix).mlp.down_bias")
      return layer
    }
  }
}
