import CDejaVuCUDA
import DejaVuCore

/// What products read of a batch: `[T, stride]` numbers of one type.
struct Operand {
  let address: dv_address
  let stride: Int
  let type: DType
}

/// Products of batches: by cuBLASLt where it was found, else by kernels of our own.
///
/// Tensor cores take both factors in one type of 16 bits: inputs are rounded to that of the weights, codes
/// are decoded to halves, a bounded block of rows at a time. Sums are float32.
extension CUDABackend {
  /// What multiplies prompts and training: the library with its version, or own kernels.
  package var productsName: String {
    products.map { "cuBLASLt \($0.library.version)" } ?? "own kernels"
  }

  /// The type in which a matrix is multiplied.
  private func operandType(of matrix: RowMatrix) -> DType {
    products == nil ? .float32 : matrix.format.dtype ?? .float16
  }

  /// A batch's vectors as products with `matrix` read them, in the working space where they are rounded.
  ///
  /// - Parameters:
  ///   - x: the vectors, in floats.
  ///   - width: columns of the vectors.
  ///   - tokens: how many there are.
  ///   - matrix: what they meet.
  ///   - gates: what the vectors are multiplied by, through `activation`; nil where there is none.
  ///   - activation: what is done to the gates, or to the vectors themselves; only where
  ///     ``rounds(_:)`` says so.
  /// - Returns: where they lie; valid until the next vectors are rounded.
  func operand(
    _ x: CUDABuffer, width: Int, tokens: Int, for matrix: RowMatrix, gates: CUDABuffer? = nil,
    activation: Activation? = nil
  ) -> Operand {
    let type = operandType(of: matrix)
    guard type != .float32 else {
      precondition(gates == nil && activation == nil, "floats are read where they lie")
      return Operand(address: x.row(0), stride: x.stride, type: .float32)
    }
    if let roundedBatch, roundedBatch.owner === x, roundedBatch.operand.type == type {
      return roundedBatch.operand
    }
    let to = room(width: width, type: type)
    launch(
      .narrowRows, KernelType(type), Grid((to.stride + 1023) / 1024, tokens),
      dv_narrow_arguments(
        from: x.row(0), gates: gates?.row(0) ?? 0, to: to.address, width: Int32(width),
        from_stride: Int32(x.stride), to_stride: Int32(to.stride),
        activation: activation?.kernelCode ?? -1))
    return to
  }

  /// Where vectors are rounded to; what lay there is gone.
  private func room(width: Int, type: DType) -> Operand {
    roundedBatch = nil
    return Operand(
      address: scratch.operands?.address ?? 0, stride: Padding.width(width), type: type)
  }

  /// Where whoever computes a batch's normed vectors rounds them beside; nil where nobody reads them so.
  func rounding(_ out: CUDABuffer, width: Int) -> Operand? {
    guard let query = model.layers.first?.query, rounds(query) else { return nil }
    let operand = room(width: width, type: operandType(of: query))
    roundedBatch = (out, operand)
    return operand
  }

  /// Where attention leaves its context in the form that `output` reads; nil where it leaves floats.
  func contextOperand(for output: RowMatrix) -> Operand? {
    guard rounds(output), cacheLayout.dtype != .float32 else { return nil }
    return room(width: output.rows, type: operandType(of: output))
  }

  /// Neurons' values of a dense batch in the form that down rows read, bias and activation applied by the
  /// library; nil where it cannot.
  func raiseRounded(layer: Int, from x: Operand, tokens: Int) -> Operand? {
    let (bundle, activation) = (model.layers[layer].bundle, architecture.activation)
    guard bundle.gate == nil, activation.fused != nil, x.type == operandType(of: bundle.down),
      x.type != .float32, let lanes = scratch.lanes
    else { return nil }
    roundBiases()
    let out = Operand(
      address: lanes.address, stride: Padding.width(architecture.neurons), type: x.type)
    multiply(
      bundle.up, from: x, tokens: tokens, to: out.address, stride: out.stride, outType: x.type,
      bias: model.layers[layer].upBias == nil ? 0 : roundedBias(layer), activation: activation)
    return out
  }

  /// The biases of a layer's up rows in the type of its products.
  private func roundedBias(_ layer: Int) -> dv_address {
    let stride = Padding.width(architecture.neurons)
    return (scratch.upBiases?.address ?? 0) + dv_address(2 * stride * layer)
  }

  private func roundBiases() {
    guard !hasRoundedBiases else { return }
    hasRoundedBiases = true
    for (index, layer) in model.layers.enumerated() where layer.upBias != nil {
      let (width, type) = (architecture.neurons, operandType(of: layer.bundle.up))
      launch(
        .narrowRows, KernelType(type), Grid((Padding.width(width) + 1023) / 1024),
        dv_narrow_arguments(
          from: layer.upBias.address, gates: 0, to: roundedBias(index), width: Int32(width),
          from_stride: 0, to_stride: Int32(Padding.width(width)), activation: -1))
    }
  }

  /// Whether vectors are rounded before they meet a matrix.
  func rounds(_ matrix: RowMatrix) -> Bool { operandType(of: matrix) != .float32 }

  /// The same vectors for another matrix, which most often reads them as they are.
  func operand(
    _ made: Operand, of x: CUDABuffer, width: Int, tokens: Int, for matrix: RowMatrix
  ) -> Operand {
    made.type == operandType(of: matrix)
      ? made : operand(x, width: width, tokens: tokens, for: matrix)
  }

  /// out[t, r] = σ(matrix[r] · x[t] + bias[r]), for a batch.
  func multiply(
    _ matrix: RowMatrix, from x: Operand, tokens: Int, to out: dv_address, stride: Int,
    bias: FloatVector? = nil, activation: Activation? = nil, flag: dv_address = 0
  ) {
    guard products != nil else {
      return launch(
        .multiplyRows, matrix.kernelType, Grid((matrix.rows + 63) / 64, (tokens + 63) / 64),
        dv_product_arguments(
          a: x.address, b: matrix.address, bias: bias.address, out: out, flag: flag,
          tokens: Int32(tokens), n: Int32(matrix.rows), k: Int32(matrix.columns),
          a_stride: Int32(x.stride), b_stride: matrix.elementStride, out_stride: Int32(stride),
          activation: activation?.kernelCode ?? -1, unused: 0))
    }
    multiply(
      matrix, from: x, tokens: tokens, to: out, stride: stride, outType: .float32,
      bias: bias.address, activation: activation)
    if let activation, activation.fused == nil {
      launch(
        .activateRows, Grid(tokens),
        dv_activate_arguments(
          values: out, gates: 0, stride: Int32(stride), width: Int32(matrix.rows),
          activation: activation.kernelCode, unused: 0))
    }
    guard flag != 0 else { return }
    let count = (tokens - 1) * stride + matrix.rows
    launch(
      .lookOver, Grid((count + 255) / 256),
      dv_look_arguments(values: out, flag: flag, count: dv_address(count)))
  }

  /// The same by the library, into numbers of a type, which the bias has too; an activation that the library
  /// has not is left out.
  private func multiply(
    _ matrix: RowMatrix, from x: Operand, tokens: Int, to out: dv_address, stride: Int,
    outType: DType, bias: dv_address, activation: Activation?
  ) {
    eachBlock(of: matrix) { block in
      let offset = dv_address(outType.size * block.first)
      let places = ProductCall(
        weights: block.address, inputs: x.address, bias: bias == 0 ? 0 : bias + offset,
        outputs: out + offset, keeps: 0)
      multiply(
        places, sumsRows: false, tokens: tokens, outputs: block.rows, terms: matrix.columns,
        strides: (block.stride, x.stride, stride), types: (x.type, outType),
        epilogue: activation?.fused ?? .plain)
    }
  }

  /// out[t, c] = Σ_r x[t, r] · matrix[r, c], for a batch.
  func multiplyTransposed(_ matrix: RowMatrix, from x: Operand, into out: CUDABuffer) {
    willWrite(out)
    let tokens = batch.tokens.count
    guard products != nil else {
      return launch(
        .multiplyColumns, matrix.kernelType, Grid((matrix.columns + 63) / 64, (tokens + 63) / 64),
        dv_product_arguments(
          a: x.address, b: matrix.address, bias: 0, out: out.row(0), flag: 0,
          tokens: Int32(tokens), n: Int32(matrix.columns), k: Int32(matrix.rows),
          a_stride: Int32(x.stride), b_stride: matrix.elementStride,
          out_stride: Int32(out.stride), activation: -1, unused: 0))
    }
    eachBlock(of: matrix) { block in
      let places = ProductCall(
        weights: block.address,
        inputs: x.address + dv_address(x.type.size * block.first), bias: 0, outputs: out.row(0),
        keeps: block.first == 0 ? 0 : 1)
      multiply(
        places, sumsRows: true, tokens: tokens, outputs: matrix.columns, terms: block.rows,
        strides: (block.stride, x.stride, out.stride), types: (x.type, .float32),
        epilogue: .plain)
    }
  }

  // Blocks of rows --------------------------------------------------------------------------------

  /// Rows that are multiplied at once, as numbers.
  private struct RowBlock {
    let first: Int
    let rows: Int
    let address: dv_address
    /// Elements.
    let stride: Int
  }

  /// Calls `body` with all rows where they lie, or with blocks of codes, which are decoded one after the
  /// other into the same place.
  private func eachBlock(of matrix: RowMatrix, _ body: (RowBlock) -> Void) {
    guard matrix.kernelType.isCoded else {
      return body(
        RowBlock(
          first: 0, rows: matrix.rows, address: matrix.address, stride: Int(matrix.elementStride)))
    }
    let padded = matrix.format.paddedColumns(matrix.columns)
    let (step, decoded) = (options.decodedBytes / (2 * padded), scratch.decoded?.address ?? 0)
    precondition(step > 0, "no room to decode a row of \(padded)")
    let units = padded / (matrix.kernelType == .codes4 ? 32 : 16)
    for first in stride(from: 0, to: matrix.rows, by: step) {
      let rows = min(step, matrix.rows - first)
      launch(
        .decodeRows, matrix.kernelType, Grid((rows * units + 255) / 256),
        dv_decode_arguments(
          rows: matrix.address + dv_address(first * matrix.stride), to: decoded,
          padded: Int32(padded), row_count: Int32(rows), row_stride: matrix.elementStride,
          to_stride: Int32(padded)))
      body(RowBlock(first: first, rows: rows, address: decoded, stride: padded))
    }
  }

  /// Appends one product of the library to the step.
  private func multiply(
    _ places: ProductCall, sumsRows: Bool, tokens: Int, outputs: Int, terms: Int,
    strides: (weights: Int, inputs: Int, outputs: Int), types: (DType, DType),
    epilogue: ProductShape.Epilogue
  ) {
    guard let products, tokens > 0 else { return }
    let shape = ProductShape(
      sumsRows: sumsRows, sumsInputRows: false, tokens: tokens, outputs: outputs, terms: terms,
      weightStride: strides.weights, inputStride: strides.inputs, outputStride: strides.outputs,
      type: types.0, outputType: types.1, computeType: .float32, hasBias: places.bias != 0,
      epilogue: epilogue,
      alignments: [places.weights, places.inputs, places.outputs].map(ProductShape.alignment))
    attempt { () throws(BackendError) in
      launch(try products.plan(shape, bias: places.bias), places)
    }
  }
}

extension Activation {
  /// What the library does by itself; nil where a kernel of our own must.
  fileprivate var fused: ProductShape.Epilogue? {
    switch self {
    case .relu: .relu
    case .geluTanh: .geluTanh
    case .gelu, .silu: nil
    }
  }
}

/// Rows with what is added to their products.
struct BiasedRows {
  let matrix: RowMatrix
  let bias: FloatVector?

  /// The same rows in as few matrices as can be: neighbours in memory are one.
  static func joined(_ parts: [BiasedRows]) -> [BiasedRows] {
    parts.reduce(into: []) { all, next in
      if let both = all.last?.followed(by: next) {
        all[all.count - 1] = both
      } else {
        all.append(next)
      }
    }
  }

  /// Both as one; nil where `next` does not lie right behind.
  private func followed(by next: BiasedRows) -> BiasedRows? {
    let other = next.matrix
    guard matrix.format == other.format, matrix.columns == other.columns,
      matrix.stride == other.stride, matrix.base + matrix.rows * matrix.stride == other.base,
      bias.map({ $0.base + $0.count }) == next.bias.map(\.base)
    else { return nil }
    let rows = RowMatrix(
      base: matrix.base, format: matrix.format, rows: matrix.rows + other.rows,
      columns: matrix.columns, stride: matrix.stride)
    guard let bias, let more = next.bias else { return BiasedRows(matrix: rows, bias: nil) }
    return BiasedRows(
      matrix: rows, bias: FloatVector(base: bias.base, count: bias.count + more.count))
  }
}
