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
  /// Names of a checkpoint's tensors, for messages.
  private let tensorName: (WeightRole) -> String

  /// - Parameters:
  ///   - model: in floats.
  ///   - options: the formats and the method.
  ///   - windows: the calibration text; empty where the options need none.
  ///   - cpu: how layers run.
  ///   - tensorName: what a checkpoint calls a weight.
  /// - Throws: ``QuantizationError/noText(method:)``, ``BackendError``.
  package init(
    model: PackedModel, options: QuantizationOptions, windows: [[TokenID]], cpu: CPUOptions,
    tensorName: @escaping (WeightRole) -> String
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
    stream =
      options.needsText ? LayerStream(model: model, windows: windows, options: cpu) : nil
    arithmetic = DenseArithmetic(team: try ThreadTeam(threads: cpu.threads), kernels: kernels)
  }

  /// Every matrix that becomes codes, with its format and shape, in the order in which `run` hands
  /// them out.
  package var matrices: [(role: WeightRole, format: GroupFormat, rows: Int, columns: Int)] {
    var result: [(role: WeightRole, format: GroupFormat, rows: Int, columns: Int)] = []
    let a = model.architecture
    if let format = a.tiesHead ? options.head : options.embedding {
      result.append((.tokenEmbedding, format, model.tokenEmbedding.rows, a.embeddingWidth))
    }
    if !a.tiesHead, let format = options.head {
      result.append((.head, format, model.head.rows, a.embeddingWidth))
    }
    for (index, layer) in model.layers.enumerated() {
      for role in WeightRole.LayerRole.matrices {
        guard let matrix = layer.matrix(role) else { continue }
        result.append((.layer(index, role), options.blocks, matrix.rows, matrix.columns))
      }
    }
    return result
  }

  /// Steps that `run` reports.
  package var steps: Int {
    matrices.count + (stream.map { $0.readings * model.architecture.layers } ?? 0)
  }

  /// Quantizes everything.
  ///
  /// - Parameters:
  ///   - progress: called with the steps that are done; it may throw to give up.
  ///   - emit: takes each matrix, in the order of `matrices`.
  /// - Throws: ``QuantizationError``, ``BackendError``, and what the closures throw.
  package func run(
    progress: (Int) throws -> Void, emit: (WeightRole, QuantizedRows) throws -> Void
  ) throws {
    var done = 0
    func step() throws {
      done += 1
      try progress(done)
    }
    for (role, format, _, _) in matrices {
      guard let matrix = role == .head ? model.head : role.isEmbedding ? model.tokenEmbedding : nil
      else { continue }
      try emit(role, roundRows(try read(matrix, role), matrix, format, importance: nil))
      try step()
    }
    var previous: FloatLayer?
    for index in model.layers.indices {
      let moments = try stream?.moments(
        of: index, behind: previous, isDiagonal: options.method != .gptq, progress: step)
      let floats = FloatLayer(model.layers[index])
      for role in WeightRole.LayerRole.matrices {
        guard let matrix = model.layers[index].matrix(role) else { continue }
        let rows = try quantize(matrix, .layer(index, role), moments.map { $0.inputs(of: role) })
        floats.set(role, rows)
        try emit(.layer(index, role), rows)
        try step()
      }
      previous = floats
    }
  }

  private func quantize(
    _ matrix: RowMatrix, _ role: WeightRole, _ moments: InputMoments?
  ) throws -> QuantizedRows {
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
    _ weights: CPUBuffer, _ matrix: RowMatrix, _ format: GroupFormat, importance: [Float]?
  ) -> QuantizedRows {
    let fit = GroupFit(format: format, method: options.method == .rtn ? .range : .search)
    return RowRounding(fit).rows(
      weights, rows: matrix.rows, columns: matrix.columns, importance: importance,
      arithmetic: arithmetic)
  }
}

extension RowRounding {
  /// Rounds a matrix, rows shared among the threads.
  package func rows(
    _ weights: CPUBuffer, rows: Int, columns: Int, importance: [Float]?,
    arithmetic: DenseArithmetic
  ) -> QuantizedRows {
    let groups = fit.format.groups(columns: columns)
    let isSymmetric = fit.format.isSymmetric
    var codes = [UInt8](repeating: 0, count: rows * columns)
    var scales = [UInt16](repeating: 0, count: rows * groups)
    var zeros = [UInt16](repeating: 0, count: isSymmetric ? 0 : rows * groups)
    codes.withUnsafeMutableBufferPointer { codes in
      scales.withUnsafeMutableBufferPointer { scales in
        zeros.withUnsafeMutableBufferPointer { zeros in
          guard let codes = codes.baseAddress, let scales = scales.baseAddress else { return }
          nonisolated(unsafe) let (source, codes2, scales2) = (weights, codes, scales)
          nonisolated(unsafe) let zeros2 = isSymmetric ? nil : zeros.baseAddress
          arithmetic.run(chunks: rows) { row in
            let target = Target(
              codes: codes2 + row * columns, scales: scales2 + row * groups,
              zeros: zeros2.map { $0 + row * groups })
            if let importance {
              importance.withUnsafeBufferPointer {
                round(source.row(row), importance: $0.baseAddress, columns: columns, into: target)
              }
            } else {
              round(source.row(row), importance: nil, columns: columns, into: target)
            }
          }
        }
      }
    }
    return QuantizedRows(
      format: fit.format, rows: rows, columns: columns, codes: codes, scales: scales, zeros: zeros)
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

  fileprivate var isEmbedding: Bool { self == .tokenEmbedding }
}
