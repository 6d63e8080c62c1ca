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
    let (to, stride) = (scratch.operands?.address ?? 0, Padding.width(width))
    launch(
      .narrowRows, KernelType(type), Grid((stride + 1023) / 1024, tokens),
      dv_narrow_arguments(
        from: x.row(0), gates: gates?.row(0) ?? 0, to: to, width: Int32(width),
        from_stride: Int32(x.stride), to_stride: Int32(stride),
        activation: activation?.kernelCode ?? -1))
    return Operand(address: to, stride: stride, type: type)
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
          activation: activation?.kernelCode ?? -1))
    }
    let fused = activation?.fused ?? .plain
    eachBlock(of: matrix) { block in
      let places = ProductCall(
        weights: block.address, inputs: x.address,
        bias: bias.map { Optional($0).address + dv_address(4 * block.first) } ?? 0,
        outputs: out + dv_address(4 * block.first), keeps: 0)
      multiply(
        places, sumsRows: false, tokens: tokens, outputs: block.rows, terms: matrix.columns,
        strides: (block.stride, x.stride, stride), type: x.type, epilogue: fused)
    }
    if let activation, activation.fused == nil {
      launch(
        .activateRows, Grid(tokens),
        dv_activate_arguments(
          values: out, gates: 0, stride: Int32(stride), width: Int32(matrix.rows),
          activation: activation.kernelCode))
    }
    guard flag != 0 else { return }
    let count = (tokens - 1) * stride + matrix.rows
    launch(
      .lookOver, Grid((count + 255) / 256),
      dv_look_arguments(values: out, flag: flag, count: dv_address(count)))
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
          out_stride: Int32(out.stride), activation: -1))
    }
    eachBlock(of: matrix) { block in
      let places = ProductCall(
        weights: block.address,
        inputs: x.address + dv_address(x.type.size * block.first), bias: 0, outputs: out.row(0),
        keeps: block.first == 0 ? 0 : 1)
      multiply(
        places, sumsRows: true, tokens: tokens, outputs: matrix.columns, terms: block.rows,
        strides: (block.stride, x.stride, out.stride), type: x.type, epilogue: .plain)
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
        .decodeRows, matrix.kernelType, Grid(rows, (units + 255) / 256),
        dv_decode_arguments(
          rows: matrix.address + dv_address(first * matrix.stride), to: decoded,
          padded: Int32(padded), row_stride: matrix.elementStride, to_stride: Int32(padded)))
      body(RowBlock(first: first, rows: rows, address: decoded, stride: padded))
    }
  }

  /// Appends one product of the library to the step.
  private func multiply(
    _ places: ProductCall, sumsRows: Bool, tokens: Int, outputs: Int, terms: Int,
    strides: (weights: Int, inputs: Int, outputs: Int), type: DType,
    epilogue: ProductShape.Epilogue
  ) {
    guard let products, tokens > 0 else { return }
    let shape = ProductShape(
      sumsRows: sumsRows, tokens: tokens, outputs: outputs, terms: terms,
      weightStride: strides.weights, inputStride: strides.inputs, outputStride: strides.outputs,
      type: type, hasBias: places.bias != 0, epilogue: epilogue,
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
