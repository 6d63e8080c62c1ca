/// Widths are padded so that no kernel has a tail: rows end in zeros up to the next multiple.
package enum Padding {
  /// Elements of a weight row, an activation or an accumulator.
  package static func width(_ columns: Int) -> Int { (columns + 31) / 32 * 32 }
  /// Lanes of a head in the cache.
  package static func head(_ width: Int) -> Int { (width + 15) / 16 * 16 }
}

/// Rows of stored numbers in memory: `[rows, columns]`, each row padded.
///
/// Unsafe to keep beyond the ``PackedModel`` that owns the memory.
package struct RowMatrix: @unchecked Sendable {
  // Safe to share: the memory is never written after packing.
  package let base: UnsafeRawPointer
  package let format: WeightFormat
  package let rows: Int
  package let columns: Int
  /// Bytes from one row to the next.
  package let stride: Int
  /// Scales that the rows share, where they are codes alone.
  package let scales: ScaleRows?

  package init(
    base: UnsafeRawPointer, format: WeightFormat, rows: Int, columns: Int, stride: Int,
    scales: ScaleRows? = nil
  ) {
    precondition(
      stride >= format.rowBytes(columns), "stride \(stride) is too small for \(columns)")
    if let scales {
      precondition(
        format.isGroupwise && scales.columns == columns
          && scales.count(of: rows, from: 0) <= scales.count,
        "\(rows) rows of \(columns) in \(format.name) do not share these scales")
    }
    self.scales = scales
    self.base = base
    self.format = format
    self.rows = rows
    self.columns = columns
    self.stride = stride
  }

  package init(base: UnsafeRawPointer, dtype: DType, rows: Int, columns: Int, stride: Int) {
    self.init(base: base, format: .plain(dtype), rows: rows, columns: columns, stride: stride)
  }

  /// The element type.
  ///
  /// - Precondition: the matrix is not groupwise.
  package var dtype: DType {
    guard let dtype = format.dtype else {
      preconditionFailure("rows of \(format.name) have no element type")
    }
    return dtype
  }

  /// Lanes of the vectors that meet a row, zeros behind the row's columns.
  package var paddedColumns: Int { Padding.width(columns) }
  /// Bytes that reading one row moves, without scales that it shares.
  package var rowBytes: Int {
    guard scales != nil, let format = format.groupwise else { return format.rowBytes(columns) }
    return format.codeBytes(columns)
  }
  /// Bytes that reading every row moves.
  package var byteCount: Int { rows * rowBytes + (scales?.byteCount ?? 0) }

  /// Element (r, c) as a float; slow, for the reference backend.
  package func element(_ row: Int, _ column: Int) -> Float {
    precondition(row >= 0 && row < rows && column >= 0 && column < columns)
    let start = base + row * stride
    switch format {
    case .groupwise(let format):
      guard let scales else { return format.value(column, of: start, columns: columns) }
      return scales.value(Float(format.code(column, of: start)), row: row, column: column)
    case .scales(let format): preconditionFailure("\(format.name) holds no weights")
    case .plain(.float32): return start.load(fromByteOffset: column * 4, as: Float.self)
    case .plain(.float16):
      return HalfPrecision.float(half: start.load(fromByteOffset: column * 2, as: UInt16.self))
    case .plain(.bfloat16):
      return HalfPrecision.float(brain: start.load(fromByteOffset: column * 2, as: UInt16.self))
    }
  }
}

/// A vector of floats, padded with zeros.
package struct FloatVector: @unchecked Sendable {
  // Safe to share: the memory is never written after packing.
  package let base: UnsafePointer<Float>
  package let count: Int
  /// Keeps the memory alive; nil where the model that holds this does.
  package let owner: (any AnyObject & Sendable)?

  package init(
    base: UnsafePointer<Float>, count: Int, owner: (any AnyObject & Sendable)? = nil
  ) {
    self.base = base
    self.count = count
    self.owner = owner
  }
}

/// Learned weights of a norm; both absent for a norm without parameters.
package struct NormWeights: Sendable {
  package var weight: FloatVector?
  package var bias: FloatVector?

  package init(weight: FloatVector? = nil, bias: FloatVector? = nil) {
    self.weight = weight
    self.bias = bias
  }
}

/// The MLP's rows, a neuron's side by side: up, down; or gate, up, down.
package struct NeuronBundle: Sendable {
  /// `[F · rowsPerNeuron, D]`.
  package let matrix: RowMatrix
  package let rowsPerNeuron: Int
  /// Scales that down rows share, where they do; the others always have their own.
  package let downScales: ScaleRows?

  package init(matrix: RowMatrix, rowsPerNeuron: Int, downScales: ScaleRows? = nil) {
    self.matrix = matrix
    self.rowsPerNeuron = rowsPerNeuron
    self.downScales = downScales
  }

  package var neurons: Int { matrix.rows / rowsPerNeuron }
  /// One kind of row of every neuron: 0 is the first of a bundle, `rowsPerNeuron - 1` the down row.
  package func rows(_ kind: Int) -> RowMatrix {
    RowMatrix(
      base: matrix.base + kind * matrix.stride, format: matrix.format, rows: neurons,
      columns: matrix.columns, stride: matrix.stride * rowsPerNeuron,
      scales: kind == rowsPerNeuron - 1 ? downScales : nil)
  }
  /// Bytes that reading every row moves.
  package var byteCount: Int {
    (rowsPerNeuron - 1) * neurons * matrix.rowBytes + down.byteCount
  }

  /// Bytes of what is read for some neurons: up rows of the computed, down rows of the active.
  ///
  /// Where down rows share scales, active neurons count as spread evenly: a row of scales is left out
  /// by (1 − share)^rows.
  package func byteCount(computed: Double, active: Double) -> Double {
    let own =
      computed * Double((rowsPerNeuron - 1) * matrix.rowBytes) + active * Double(down.rowBytes)
    guard let downScales else { return own }
    var (base, exponent) = (1 - active / Double(max(neurons, 1)), downScales.format.rows)
    var unread = 1.0
    while exponent > 0 {
      if exponent & 1 == 1 { unread *= base }
      (base, exponent) = (base * base, exponent >> 1)
    }
    return own + (1 - unread) * Double(downScales.byteCount)
  }
  package var gate: RowMatrix? { rowsPerNeuron == 3 ? rows(0) : nil }
  package var up: RowMatrix { rows(rowsPerNeuron - 2) }
  package var down: RowMatrix { rows(rowsPerNeuron - 1) }
}

/// One block's weights.
package struct PackedLayer: Sendable {
  package var attentionNorm: NormWeights
  package var mlpNorm: NormWeights
  /// `[H · h, D]`, rows of one head together.
  package var query: RowMatrix
  /// `[K · h, D]`.
  package var key: RowMatrix
  package var value: RowMatrix
  /// `[H · h, D]`: transposed, one row per lane of a head.
  package var output: RowMatrix
  package var queryBias: FloatVector?
  package var keyBias: FloatVector?
  package var valueBias: FloatVector?
  package var outputBias: FloatVector?
  package var bundle: NeuronBundle
  package var upBias: FloatVector?
  package var gateBias: FloatVector?
  package var downBias: FloatVector?

  package init(
    attentionNorm: NormWeights, mlpNorm: NormWeights, query: RowMatrix, key: RowMatrix,
    value: RowMatrix, output: RowMatrix, bundle: NeuronBundle
  ) {
    self.attentionNorm = attentionNorm
    self.mlpNorm = mlpNorm
    self.query = query
    self.key = key
    self.value = value
    self.output = output
    self.bundle = bundle
  }

  /// Bytes that reading every row of attention moves.
  package var attentionBytes: Int {
    [query, key, value, output].reduce(0) { $0 + $1.byteCount }
  }

  /// Whether rows of W_O or W2 share scales.
  package var sharesScales: Bool { output.scales != nil || bundle.downScales != nil }
}

/// A whole model in the engine's layout: the sparse axis is the row axis in memory.
///
/// Whatever reads weights reads these: the reference backend, the CPU kernels, the upload to a
/// card, the writer of packed files.
package final class PackedModel: Sendable {
  package let architecture: Architecture
  package let tokenEmbedding: RowMatrix
  package let positionEmbedding: RowMatrix?
  package let embeddingNorm: NormWeights?
  /// `[D, E]` and `[E, D]`, where the embedding is narrower than the stream.
  package let projectIn: RowMatrix?
  package let projectOut: RowMatrix?
  package let finalNorm: NormWeights?
  /// `[V, E]`; the token embedding itself when tied.
  package let head: RowMatrix
  package let layers: [PackedLayer]
  /// Whoever owns the memory behind every row.
  private let owner: any AnyObject & Sendable

  package init(
    architecture: Architecture, tokenEmbedding: RowMatrix, positionEmbedding: RowMatrix?,
    embeddingNorm: NormWeights?, projectIn: RowMatrix?, projectOut: RowMatrix?,
    finalNorm: NormWeights?, head: RowMatrix, layers: [PackedLayer],
    owner: any AnyObject & Sendable
  ) {
    self.architecture = architecture
    self.tokenEmbedding = tokenEmbedding
    self.positionEmbedding = positionEmbedding
    self.embeddingNorm = embeddingNorm
    self.projectIn = projectIn
    self.projectOut = projectOut
    self.finalNorm = finalNorm
    self.head = head
    self.layers = layers
    self.owner = owner
  }

  /// What most weights are stored in.
  package var format: WeightFormat { layers.first?.bundle.matrix.format ?? head.format }

  /// What every matrix is stored in, each format once.
  package var formats: Set<WeightFormat> {
    let blocks = layers.flatMap { [$0.query, $0.key, $0.value, $0.output, $0.bundle.matrix] }
    let rest = [tokenEmbedding, positionEmbedding, projectIn, projectOut, head].compactMap { $0 }
    return Set((blocks + rest).map(\.format))
  }

  /// Whether some rows are codes with scales, which vectors are rounded for.
  package var isGroupwise: Bool { formats.contains(where: \.isGroupwise) }

  /// Whether rows of some matrices share scales with their neighbours.
  package var sharesScales: Bool { layers.contains(where: \.sharesScales) }

  /// Bytes of weights that a dense decode step reads, without the rows of the embedding tables.
  package var decodeBytes: Int {
    let blocks = layers.reduce(0) { $0 + $1.attentionBytes + $1.bundle.byteCount }
    let rest = [projectIn, projectOut, head].compactMap { $0 }
    return blocks + rest.reduce(0) { $0 + $1.rows * $1.rowBytes }
  }
}

extension Tally {
  /// Weight and chooser bytes per token, over those of a dense step.
  package func weightShare(of model: PackedModel) -> Double {
    guard tokens > 0, model.decodeBytes > 0 else { return 1 }
    return Double(attentionWeights + mlpWeights + headWeights + chooser) / Double(tokens)
      / Double(model.decodeBytes)
  }

  /// Share of neurons, and of head groups, that were computed.
  package var neuronDensity: Double { Double(neuronRows) / Double(max(neuronRowsOfAll, 1)) }
  package var headDensity: Double { Double(headRows) / Double(max(headRowsOfAll, 1)) }
}
