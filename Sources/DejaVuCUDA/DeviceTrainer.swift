import CDejaVuCUDA
package import DejaVuCore

/// Steps of weighted binary cross-entropy and AdamW on a card, for one predictor at a time.
///
/// The host fills in a minibatch, the card does the rest: with G = w · (σ(z) − y) and H = X Aᵀ,
/// dB = Hᵀ G and dA = (G Bᵀ)ᵀ X. Products are cuBLASLt's in TF32 where the backend has the library, else
/// those of own kernels in float32. Every sum has one order, so the same steps give the same bits.
package final class DeviceTrainer {
  /// `[batch, width]` floats and `[batch · rows]` codes of the minibatch, in memory of the host.
  package let streams: UnsafeMutablePointer<Float>
  package let codes: UnsafeMutablePointer<UInt8>
  /// `[batch, padded rows]`, where ``fetchLogits(_:tokens:)`` leaves them.
  package let logits: UnsafeMutablePointer<Float>
  let device: CUDADevice
  private let module: KernelModule
  private let products: MatrixProducts?
  private let launches = LaunchList()
  private let batch: Int
  private let host: (streams: PinnedMemory, codes: PinnedMemory, logits: PinnedMemory)
  private let x: DeviceMemory
  /// H, its gradient, and either of them turned round for own kernels.
  private let inner: DeviceMemory
  private let innerGradient: DeviceMemory
  private let transposed: DeviceMemory?
  /// The logits, later their gradient.
  private let z: DeviceMemory
  private let labels: DeviceMemory
  private let gradient: DeviceMemory
  private let counts: DeviceMemory
  private let weights: DeviceMemory
  private let losses: DeviceMemory
  /// What the host reads and writes between kernels: 256 counts or weights, and shown losses.
  private let note: PinnedMemory
  /// A product that the library refused: steps do not throw.
  private var refusal: BackendError?

  /// - Parameters:
  ///   - backend: whose card and kernels are used.
  ///   - shapes: the predictors that will be trained.
  ///   - batch: tokens of a minibatch at most.
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  package init(
    _ backend: CUDABackend, shapes: [PredictorShape], batch: Int
  ) throws(BackendError) {
    (device, module, products) = (backend.device, backend.module, backend.products)
    self.batch = batch
    let device = device
    device.enter()
    func most(_ size: (PredictorShape) -> Int) -> Int { shapes.map(size).max() ?? 1 }
    let (width, rank, padded) = (most(\.width), most(\.rank), most(\.paddedRows))
    func memory(_ bytes: Int) throws(BackendError) -> DeviceMemory {
      try DeviceMemory(device, byteCount: bytes, what: "a minibatch")
    }
    func pinned(_ bytes: Int) throws(BackendError) -> PinnedMemory {
      try PinnedMemory(device, byteCount: bytes, what: "a minibatch")
    }
    host = (
      try pinned(4 * batch * width), try pinned(batch * padded), try pinned(4 * batch * padded)
    )
    (x, inner) = (try memory(4 * batch * width), try memory(4 * batch * rank))
    innerGradient = try memory(4 * batch * rank)
    transposed = backend.products == nil ? try memory(4 * batch * rank) : nil
    (z, labels) = (try memory(4 * batch * padded), try memory(batch * padded))
    gradient = try memory(4 * most(\.count))
    (counts, weights, losses) = (try memory(1024), try memory(1024), try memory(8 * batch))
    note = try pinned(max(1024, 8 * batch))
    streams = host.streams.base.assumingMemoryBound(to: Float.self)
    codes = host.codes.base.assumingMemoryBound(to: UInt8.self)
    logits = host.logits.base.assumingMemoryBound(to: Float.self)
    // Lanes past the stream's width stay zeros.
    host.streams.base.initializeMemory(as: UInt8.self, repeating: 0, count: 4 * batch * width)
  }

  private func launch<Arguments: BitwiseCopyable>(
    _ kernel: Kernel, _ grid: Grid, _ arguments: Arguments
  ) {
    launches.append(
      module.function(kernel, .float32), threads: kernel.threads(.float32), grid: grid,
      sharedBytes: 0, arguments)
  }

  private func run() {
    launches.run(on: device)
    launches.removeAll()
  }

  // Products --------------------------------------------------------------------------------------

  /// One side of a product: floats, and how many lie from one row to the next.
  private struct Matrix {
    let address: dv_address
    let stride: Int
  }

  /// What a sum runs over: columns of both factors, a[t, k] · b[n, k]; columns of the first and rows of
  /// the second, a[t, k] · b[k, n]; or rows of both, a[k, t] · b[k, n].
  private enum SummedAxes { case columns, columnsAndRows, rows }

  /// c[t, n] = the sum of `depth` products; `bias` is added to every row.
  private func multiply(
    _ a: Matrix, _ b: Matrix, into c: Matrix, rows: Int, columns: Int, depth: Int,
    over axes: SummedAxes, bias: dv_address = 0
  ) {
    if let products {
      let shape = ProductShape(
        sumsRows: axes != .columns, sumsInputRows: axes == .rows, tokens: rows, outputs: columns,
        terms: depth, weightStride: b.stride, inputStride: a.stride, outputStride: c.stride,
        type: .float32, outputType: .float32, computeType: .tf32, hasBias: bias != 0,
        epilogue: .plain,
        alignments: [b.address, a.address, c.address].map(ProductShape.alignment))
      return append(
        shape, of: products,
        ProductCall(
          weights: b.address, inputs: a.address, bias: bias, outputs: c.address, keeps: 0))
    }
    let a = axes == .rows ? transpose(a, rows: depth, columns: rows) : a
    launch(
      axes == .columns ? .multiplyRows : .multiplyColumns,
      Grid((columns + 63) / 64, (rows + 63) / 64),
      dv_product_arguments(
        a: a.address, b: b.address, bias: bias, out: c.address, flag: 0, tokens: Int32(rows),
        n: Int32(columns), k: Int32(depth), a_stride: Int32(a.stride), b_stride: Int32(b.stride),
        out_stride: Int32(c.stride), activation: -1, unused: 0))
  }

  private func append(_ shape: ProductShape, of products: MatrixProducts, _ places: ProductCall) {
    do throws(BackendError) {
      launches.append(try products.plan(shape, bias: places.bias), places)
    } catch {
      if refusal == nil { refusal = error }
    }
  }

  /// A matrix with its rows as columns, until the next one is turned.
  private func transpose(_ matrix: Matrix, rows: Int, columns: Int) -> Matrix {
    let turned = Matrix(address: transposed?.address ?? 0, stride: rows)
    launch(
      .transposeRows, Grid((columns + 31) / 32, (rows + 31) / 32),
      dv_transpose_arguments(
        values: matrix.address, out: turned.address, tokens: Int32(rows), width: Int32(columns),
        stride: Int32(matrix.stride), out_stride: Int32(turned.stride)))
    return turned
  }

  private func parts(_ p: DevicePredictor) -> (a: Matrix, b: Matrix, bias: dv_address) {
    let (base, shape) = (p.values.address, p.shape)
    return (
      Matrix(address: base, stride: shape.width),
      Matrix(address: base + dv_address(4 * shape.rank * shape.width), stride: shape.paddedRows),
      base + dv_address(4 * shape.decaying)
    )
  }

  /// Uploads `tokens` streams and computes their logits on the card.
  package func forward(_ predictor: DevicePredictor, tokens: Int) {
    precondition(tokens <= batch, "\(tokens) tokens in a minibatch of \(batch)")
    device.enter()
    let (shape, parts) = (predictor.shape, parts(predictor))
    device.copyLater(host.streams.base, to: x.address, bytes: 4 * tokens * shape.width)
    let h = Matrix(address: inner.address, stride: shape.rank)
    multiply(
      Matrix(address: x.address, stride: shape.width), parts.a, into: h, rows: tokens,
      columns: shape.rank, depth: shape.width, over: .columns)
    multiply(
      h, parts.b, into: Matrix(address: z.address, stride: shape.paddedRows), rows: tokens,
      columns: shape.paddedRows, depth: shape.rank, over: .columnsAndRows, bias: parts.bias)
    run()
  }

  /// Brings the logits of ``forward(_:tokens:)`` to the host.
  package func fetchLogits(_ predictor: DevicePredictor, tokens: Int) {
    device.fetch(
      z.address, to: host.logits.base, bytes: 4 * tokens * predictor.shape.paddedRows)
    device.wait()
  }

  /// Zeroed floats of the host that the card reads and writes at full speed, and whose they are.
  ///
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  package func makeFloats(
    _ count: Int
  ) throws(BackendError) -> (base: UnsafeMutablePointer<Float>, owner: AnyObject) {
    device.enter()
    let memory = try PinnedMemory(device, byteCount: 4 * count, what: "a predictor")
    return (memory.base.initializeMemory(as: Float.self, repeating: 0, count: count), memory)
  }

  // Steps -----------------------------------------------------------------------------------------

  /// How often each code stands among the labels of the minibatch, `[256]`; uploads them.
  package func countCodes(_ predictor: DevicePredictor, tokens: Int) -> [Int] {
    device.enter()
    let count = tokens * predictor.shape.rows
    device.copyLater(host.codes.base, to: labels.address, bytes: count)
    counts.clear()
    launch(
      .countCodes, Grid(min((count + 4095) / 4096, 1024)),
      dv_count_arguments(
        codes: labels.address, counts: counts.address, count: Int32(count), unused: 0))
    run()
    device.fetch(counts.address, to: note.base, bytes: 1024)
    device.wait()
    let found = note.base.assumingMemoryBound(to: Int32.self)
    return (0..<256).map { Int(found[$0]) }
  }

  /// Fills in the gradient from the logits of ``forward(_:tokens:)`` and the labels.
  ///
  /// - Parameters:
  ///   - predictor: what is trained.
  ///   - tokens: of the minibatch.
  ///   - table: `[256]`, a row's weight by its code.
  ///   - positive: the least code of a positive row.
  ///   - shown: of how many tokens the loss is wanted.
  /// - Returns: sums of the loss and of the weights of those tokens.
  package func differentiate(
    _ predictor: DevicePredictor, tokens: Int, table: [Float], positive: UInt8, shown: Int
  ) -> (loss: Double, weight: Double) {
    let shape = predictor.shape
    let words = note.base.assumingMemoryBound(to: Float.self)
    for (code, weight) in table.prefix(256).enumerated() { words[code] = weight }
    device.copy(note.base, to: weights.address, bytes: 1024)
    launch(
      .differentiateLogits, Grid(tokens),
      dv_loss_arguments(
        logits: z.address, codes: labels.address, weights: weights.address,
        losses: losses.address, rows: Int32(shape.rows), stride: Int32(shape.paddedRows),
        shown: Int32(shown), positive: Int32(positive)))
    multiplyBack(predictor, tokens: tokens)
    run()
    device.fetch(losses.address, to: note.base, bytes: 8 * shown)
    device.wait()
    return (0..<shown).reduce(into: (0, 0)) { sums, t in
      sums.loss += Double(words[2 * t])
      sums.weight += Double(words[2 * t + 1])
    }
  }

  /// The gradients of A, B and the bias, behind those of the logits.
  private func multiplyBack(_ predictor: DevicePredictor, tokens: Int) {
    let (shape, parts) = (predictor.shape, parts(predictor))
    let g = Matrix(address: z.address, stride: shape.paddedRows)
    let h = Matrix(address: inner.address, stride: shape.rank)
    let hGradient = Matrix(address: innerGradient.address, stride: shape.rank)
    let ofB = gradient.address + dv_address(4 * shape.rank * shape.width)
    launch(
      .sumTokens, Grid((shape.paddedRows + 255) / 256),
      dv_sum_arguments(
        values: z.address, out: gradient.address + dv_address(4 * shape.decaying),
        tokens: Int32(tokens), width: Int32(shape.paddedRows), stride: Int32(shape.paddedRows),
        unused: 0))
    multiply(
      h, g, into: Matrix(address: ofB, stride: shape.paddedRows), rows: shape.rank,
      columns: shape.paddedRows, depth: tokens, over: .rows)
    multiply(
      g, parts.b, into: hGradient, rows: tokens, columns: shape.rank, depth: shape.paddedRows,
      over: .columns)
    multiply(
      hGradient, Matrix(address: x.address, stride: shape.width),
      into: Matrix(address: gradient.address, stride: shape.width), rows: shape.rank,
      columns: shape.width, depth: tokens, over: .rows)
  }

  /// AdamW's constants for one step.
  package struct Step {
    package let rate, decay, beta1, beta2, correction: Float

    /// - Parameters:
    ///   - rate: the learning rate over what the first moment lacks.
    ///   - decay: the share of themselves that weights lose.
    ///   - beta1: how much of the first moment stays.
    ///   - beta2: how much of the second one stays.
    ///   - correction: what the second moment lacks.
    package init(rate: Float, decay: Float, beta1: Float, beta2: Float, correction: Float) {
      (self.rate, self.decay, self.correction) = (rate, decay, correction)
      (self.beta1, self.beta2) = (beta1, beta2)
    }
  }

  /// Moves the weights along the gradient.
  package func update(_ predictor: DevicePredictor, by step: Step) {
    let shape = predictor.shape
    launch(
      .stepWeights, Grid(min((shape.count + 255) / 256, 4096)),
      dv_adam_arguments(
        values: predictor.values.address, first: predictor.first.address,
        second: predictor.second.address, gradient: gradient.address, count: Int32(shape.count),
        decaying: Int32(shape.decaying), rate: step.rate, decay: step.decay, beta1: step.beta1,
        beta2: step.beta2, correction: step.correction, unused: 0))
    run()
  }

  /// The gradient of the last ``differentiate(_:tokens:table:positive:shown:)``, laid out as values are.
  package func fetchGradient(_ predictor: DevicePredictor) -> [Float] {
    let count = predictor.shape.count
    return [Float](unsafeUninitializedCapacity: count) { buffer, used in
      guard let base = buffer.baseAddress else { return }
      device.fetch(gradient.address, to: base, bytes: 4 * count)
      device.wait()
      used = count
    }
  }

  /// - Throws: the first product that the library refused, or failure of the card.
  package func throwFailure() throws(BackendError) {
    if let refusal { throw refusal }
    try device.throwFailure()
  }
}
