package import DejaVu
package import DejaVuCPU
package import DejaVuCore
package import DejaVuFormats

/// Turns the matrices of a model into codes, in the order of the computation.
package final class ModelQuantizer {
  private let model: PackedModel
  private let options: QuantizationOptions
  private let stream: LayerStream?
  private let arithmetic: DenseArithmetic
  /// What the copy will hold.
  package let layout: PackedLayout
  /// Names of a checkpoint's tensors, for messages.
  private let tensorName: (WeightRole) -> String

  /// - Parameters:
  ///   - model: in floats.
  ///   - source: the layout of `model`.
  ///   - options: the formats and the method.
  ///   - windows: the calibration text; empty where the options need none.
  ///   - cpu: how layers run.
  ///   - tensorName: what a checkpoint calls a weight.
  /// - Throws: ``QuantizationError/noText(method:)``, ``BackendError``.
  package init(
    model: PackedModel, source: PackedLayout, options: QuantizationOptions, windows: [[TokenID]],
    cpu: CPUOptions, tensorName: @escaping (WeightRole) -> String
  ) throws {
    guard !options.needsText || !windows.isEmpty else {
      throw QuantizationError.noText(method: options.method.rawValue)
    }
    guard let kernels = cpu.instructionSet.table else {
      throw BackendError.unavailable(
        backend: "CPU", reason: "this machine has no \(cpu.instructionSet.rawValue)")
    }
    self.model = model
    self.options = options
    self.tensorName = tensorName
    layout = QuantizedCopy.layout(of: source, options: options)
    stream =
      options.needsText ? LayerStream(model: model, windows: windows, options: cpu) : nil
    arithmetic = DenseArithmetic(team: try ThreadTeam(threads: cpu.threads), kernels: kernels)
  }

  /// Steps that `run` reports.
  package var steps: Int {
    let matrices = layout.entries.reduce(0) {
      $0 + ($1.format.groupwise == nil ? 0 : $1.roles.count)
    }
    return matrices + (stream.map { $0.readings * model.architecture.layers } ?? 0)
  }

  /// Quantizes everything.
  ///
  /// - Parameters:
  ///   - progress: called with the steps that are done; it may throw to give up.
  ///   - emit: takes each groupwise tensor of the layout, in the layout's order.
  /// - Throws: ``QuantizationError``, ``BackendError``, and what the closures throw.
  package func run(
    progress: (Int) throws -> Void,
    emit: (PackedLayout.Entry, UnsafeRawBufferPointer) throws -> Void
  ) throws {
    var done = 0
    func step() throws {
      done += 1
      try progress(done)
    }
    func table(_ name: String, _ matrix: RowMatrix, _ role: WeightRole) throws {
      guard let entry = layout.entry(name), let format = entry.format.groupwise else { return }
      let rows = roundRows(try read(matrix, role), matrix, format, importance: nil)
      try pack([rows], as: entry, emit)
      try step()
    }
    try table("embed.tokens", model.tokenEmbedding, .tokenEmbedding)
    var previous: FloatLayer?
    for index in model.layers.indices {
      let moments = try stream?.moments(
        of: index, behind: previous, isDiagonal: options.method != .gptq, progress: step)
      let floats = FloatLayer(model.layers[index])
      var rows: [WeightRole: [GroupwiseRow]] = [:]
      for role in WeightRole.LayerRole.matrices {
        guard let matrix = model.layers[index].matrix(role) else { continue }
        let found = try quantize(matrix, .layer(index, role), moments.map { $0.inputs(of: role) })
        floats.set(role, found, options.blocks)
        rows[.layer(index, role)] = found
        try step()
      }
      for entry in layout.entries
      where entry.format.groupwise != nil && entry.name.hasPrefix("layers.\(index).") {
        try pack(entry.roles.compactMap { rows[$0] }, as: entry, emit)
      }
      previous = floats
    }
    if !model.architecture.tiesHead { try table("head", model.head, .head) }
  }

  private func quantize(
    _ matrix: RowMatrix, _ role: WeightRole, _ moments: InputMoments?
  ) throws -> [GroupwiseRow] {
    let weights = try read(matrix, role)
    let rowsAreInputs = role.rowsAreInputs
    guard options.method == .gptq, let moments else {
      let importance = rowsAreInputs ? nil : moments?.meanSquares
      return roundRows(weights, matrix, options.blocks, importance: importance)
    }
    let rounding = FeedbackRounding(
      GroupFit(format: options.blocks, method: options.fit),
      groups: rowsAreInputs ? .alongOutputs : .alongInputs, arithmetic: arithmetic)
    let rows = rounding.round(
      rowsAreInputs ? weights : turned(weights, matrix),
      outputs: rowsAreInputs ? matrix.columns : matrix.rows, moments: moments,
      sequence: FeedbackRounding.sequence(moments, byStrength: options.ordersByStrength),
      damping: options.damping)
    guard let rows else {
      throw QuantizationError.degenerateInputs(matrix: tensorName(role), tokens: moments.tokens)
    }
    return rows
  }

  // MARK: Rows

  /// `[rows, columns]` floats, checked.
  private func read(_ matrix: RowMatrix, _ role: WeightRole) throws -> CPUBuffer {
    let buffer = CPUBuffer(capacity: matrix.rows, width: matrix.columns)
    nonisolated(unsafe) let target = buffer
    let loops = arithmetic.loops
    arithmetic.run(chunks: matrix.rows) { row in
      loops.widen(
        matrix.base + row * matrix.stride, matrix.dtype, count: matrix.columns,
        into: target.row(row))
    }
    for row in 0..<matrix.rows {
      let values = UnsafeBufferPointer(start: buffer.row(row), count: matrix.columns)
      if let wrong = values.first(where: { !(abs($0) <= GroupFit.greatestWeight) }) {
        throw QuantizationError.weightOutOfRange(
          tensor: tensorName(role), row: row, value: "\(wrong)")
      }
    }
    return buffer
  }

  /// `[columns, rows]`.
  private func turned(_ weights: CPUBuffer, _ matrix: RowMatrix) -> CPUBuffer {
    let buffer = CPUBuffer(capacity: matrix.columns, width: matrix.rows)
    nonisolated(unsafe) let (source, target) = (weights, buffer)
    arithmetic.run(chunks: matrix.columns) { column in
      let to = target.row(column)
      for row in 0..<matrix.rows { to[row] = source.row(row)[column] }
    }
    return buffer
  }

  private func roundRows(
    _ weights: CPUBuffer, _ matrix: RowMatrix, _ format: GroupwiseFormat, importance: [Float]?
  ) -> [GroupwiseRow] {
    let fit = GroupFit(format: format, method: options.method == .rtn ? .range : .search)
    return RowRounding(fit).rows(
      weights, rows: matrix.rows, columns: matrix.columns, importance: importance,
      arithmetic: arithmetic)
  }
}

extension ModelQuantizer {
  /// Hands out a tensor whose rows are those of `kinds`, side by side.
  private func pack(
    _ kinds: [[GroupwiseRow]], as entry: PackedLayout.Entry,
    _ emit: (PackedLayout.Entry, UnsafeRawBufferPointer) throws -> Void
  ) throws {
    guard let format = entry.format.groupwise else { return }
    var bytes = [UInt8](repeating: 0, count: entry.byteCount)
    try bytes.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      nonisolated(unsafe) let target = base
      arithmetic.run(chunks: entry.shape[0]) { row in
        for (kind, rows) in kinds.enumerated() {
          format.pack(
            rows[row], columns: rows[row].codes.count,
            into: target + (row * kinds.count + kind) * entry.rowBytes)
        }
      }
      try emit(entry, UnsafeRawBufferPointer(buffer))
    }
  }
}

extension LayerMoments {
  /// Moments of what a matrix reads.
  func inputs(of role: WeightRole.LayerRole) -> InputMoments {
    switch role {
    case .output: context
    case .gate, .up: mlp
    case .down: activations
    default: attention
    }
  }
}

extension WeightRole {
  /// Whether a row of the engine's matrix is an input, as in W_O and W2.
  var rowsAreInputs: Bool {
    switch self {
    case .layer(_, .output), .layer(_, .down): true
    default: false
    }
  }
}

extension WeightRole.LayerRole {
  /// Every matrix of a block, in the order of the computation.
  static let matrices: [WeightRole.LayerRole] = [.query, .key, .value, .output, .gate, .up, .down]
}
