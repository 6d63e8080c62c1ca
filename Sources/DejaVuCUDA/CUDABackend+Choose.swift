import CDejaVuCUDA
package import DejaVuCore

/// A chooser's matrices on a card, codes apart from scales.
final class DeviceChooser {
  struct Matrix {
    let codes: DeviceMemory
    let scales: DeviceMemory
    let host: GroupwiseMatrix
  }

  /// Where a chooser's numbers lie on the host: what it is known by.
  struct Key: Hashable {
    let first: UnsafeRawPointer
    let bias: UnsafePointer<Float>?
    let gain: UnsafePointer<Float>?

    init(_ weights: ChooserWeights) {
      (first, bias, gain) = (weights.first.base, weights.bias?.base, weights.gain?.base)
    }
  }

  let first: Matrix
  let second: Matrix?
  let bias: DeviceMemory?
  let gain: DeviceMemory?
  /// float `[rank]` of every token, between the two matrices.
  var hidden: CUDABuffer?
  var hiddenTokens = 0

  init(_ weights: ChooserWeights, on device: CUDADevice) throws(BackendError) {
    first = try Self.upload(weights.first, to: device)
    second =
      if let matrix = weights.second { try Self.upload(matrix, to: device) } else { nil }
    bias = try Self.upload(weights.bias, to: device)
    gain = try Self.upload(weights.gain, to: device)
  }

  private static func upload(
    _ vector: FloatVector?, to device: CUDADevice
  ) throws(BackendError) -> DeviceMemory? {
    guard let vector else { return nil }
    let memory = try DeviceMemory(device, byteCount: 4 * vector.count, what: "a chooser's vector")
    device.copy(vector.base, to: memory.address, bytes: 4 * vector.count)
    return memory
  }

  private static func upload(
    _ matrix: GroupwiseMatrix, to device: CUDADevice
  ) throws(BackendError) -> Matrix {
    let (codeBytes, scaleBytes) = (matrix.columns * matrix.bits / 8, matrix.columns / 64 * 2)
    var codes = [UInt8](repeating: 0, count: matrix.rows * codeBytes)
    var scales = [UInt8](repeating: 0, count: matrix.rows * scaleBytes)
    codes.withUnsafeMutableBytes { codes in
      scales.withUnsafeMutableBytes { scales in
        guard let codes = codes.baseAddress, let scales = scales.baseAddress else { return }
        for row in 0..<matrix.rows {
          let from = matrix.base + row * matrix.rowBytes
          (codes + row * codeBytes).copyMemory(from: from, byteCount: codeBytes)
          (scales + row * scaleBytes).copyMemory(from: from + codeBytes, byteCount: scaleBytes)
        }
      }
    }
    func place(_ bytes: [UInt8]) throws(BackendError) -> DeviceMemory {
      let memory = try DeviceMemory(device, byteCount: bytes.count, what: "a chooser")
      bytes.withUnsafeBytes {
        if let base = $0.baseAddress { device.copy(base, to: memory.address, bytes: $0.count) }
      }
      return memory
    }
    return Matrix(codes: try place(codes), scales: try place(scales), host: matrix)
  }
}

extension CUDABackend {
  package func makeRows(universe: Int, isPrecise: Bool) -> CUDARows {
    let rows = CUDARows(device, universe: universe)
    attempt { () throws(BackendError) in _ = try rows.reserve(tokens: 1) }
    return rows
  }

  package func list(of token: Int, in rows: CUDARows) -> [Int32] {
    flush()
    return rows.list(of: token)
  }

  package func assign(_ indices: [Int32], to rows: CUDARows) {
    // What the step has read of the last list must be read before it changes.
    if rows.sourceStep == stepNumber {
      flush()
      device.wait()
    }
    rows.sourceStep = stepNumber
    reserve(rows)
    guard
      let source = attempt({ () throws(BackendError) in try rows.hostList(indices) })
    else { return }
    launch(
      .assignList, Grid(batch.tokens.count),
      dv_assign_arguments(
        source: source, counts: rows.counts, lists: rows.lists, list_stride: Int32(rows.universe)))
  }

  /// Lists that differ are copied between launches: the step is not replayed.
  package func assign(each lists: [[Int32]], to rows: CUDARows) {
    precondition(
      lists.count == batch.tokens.count, "\(lists.count) lists for \(batch.tokens.count) tokens")
    guard lists.count > 1 else { return assign(lists.first ?? [], to: rows) }
    flush()
    device.wait()
    reserve(rows)
    attempt { () throws(BackendError) in try rows.copy(lists: lists) }
  }

  /// Makes room for the lists of this batch.
  func reserve(_ rows: CUDARows) {
    attempt { () throws(BackendError) in
      if let old = try rows.reserve(tokens: batch.tokens.count > 1 ? batchCapacity : 1) {
        retired.append(old)
      }
    }
  }

  package func choose(
    _ weights: ChooserWeights, by rule: ChoiceRule, layer: Int, reading x: CUDABuffer,
    into rows: CUDARows
  ) {
    precondition(
      weights.rows == rows.universe, "\(weights.rows) scores for \(rows.universe) rows")
    settle(x)
    reserve(rows)
    guard let chooser = onDevice(weights) else { return }
    let scores = scratch.scores
    let (bias, gain) = (chooser.bias?.address ?? 0, chooser.gain?.address ?? 0)
    let norm = norm(of: weights, layer: layer)
    if let second = chooser.second, let hidden = chooser.hidden {
      score(chooser.first, x.row(0), width: architecture.hidden, stride: x.stride, norm, to: hidden)
      score(
        second, hidden.row(0), width: chooser.first.host.rows, stride: hidden.stride, dv_norm(),
        bias: bias, gain: gain, to: scores)
    } else {
      score(
        chooser.first, x.row(0), width: architecture.hidden, stride: x.stride, norm, bias: bias,
        gain: gain, to: scores)
    }
    select(scores, by: rule, into: rows)
    tally.chooser += weights.byteCount
    let elements = [weights.first, weights.second].reduce(0) {
      $0 + ($1.map { $0.rows * $0.columns } ?? 0)
    }
    tally.weightFlops += 2 * batch.tokens.count * elements
  }

  private func norm(of weights: ChooserWeights, layer: Int) -> dv_norm {
    switch weights.norm {
    case .plain: dv_norm(weight: 0, bias: 0, epsilon: 1e-6, kind: 2)
    case .mlp where architecture.blockOrder == .postNorm: dv_norm()
    case .mlp: described(model.layers[layer].mlpNorm)
    }
  }

  /// The chooser's matrices, copied when they are first asked for, and room between them.
  private func onDevice(_ weights: ChooserWeights) -> DeviceChooser? {
    let known = choosers[DeviceChooser.Key(weights)]
    let made =
      known ?? attempt { () throws(BackendError) in try DeviceChooser(weights, on: device) }
    guard let chooser = made else { return nil }
    choosers[DeviceChooser.Key(weights)] = chooser
    let tokens = batch.tokens.count > 1 ? batchCapacity : 1
    if chooser.second != nil, chooser.hiddenTokens < tokens {
      if let old = chooser.hidden?.memory { retired.append(old) }
      let stride = Padding.width(chooser.first.host.rows)
      let memory = attempt { () throws(BackendError) in
        try DeviceMemory(device, byteCount: 4 * tokens * stride, what: "a chooser's inner vector")
      }
      chooser.hidden = CUDABuffer(memory: memory, stride: stride)
      chooser.hiddenTokens = tokens
    }
    return chooser
  }

  private func score(
    _ matrix: DeviceChooser.Matrix, _ x: dv_address, width: Int, stride: Int, _ norm: dv_norm,
    bias: dv_address = 0, gain: dv_address = 0, to scores: CUDABuffer
  ) {
    let host = matrix.host
    launch(
      .scoreRows,
      .float32,
      Grid(geometry.blocks(rows: host.rows, warps: 8, perMultiprocessor: 3), batch.tokens.count),
      sharedBytes: LaunchGeometry.vectorBytes(width) + host.columns,
      dv_score_arguments(
        norm: norm, x: x, codes: matrix.codes.address, scales: matrix.scales.address, bias: bias,
        gain: gain, scores: scores.row(0), width: Int32(min(width, host.columns)),
        columns: Int32(host.columns), rows: Int32(host.rows), bits: Int32(host.bits),
        x_stride: Int32(stride), score_stride: Int32(scores.stride)))
  }

  /// Lists the rows whose scores meet the rule, for every token.
  func select(_ scores: CUDABuffer, by rule: ChoiceRule, into rows: CUDARows) {
    var (keep, limit): (Int, Float) = (0, 0)
    switch rule {
    case .threshold(let threshold): limit = threshold
    case .highest(let count): keep = max(count, 1)
    }
    launch(
      .selectRows, Grid(batch.tokens.count),
      dv_select_arguments(
        scores: scores.row(0), counts: rows.counts, lists: rows.lists,
        rows: Int32(rows.universe), score_stride: Int32(scores.stride),
        list_stride: Int32(rows.universe), keep: Int32(min(keep, rows.universe)),
        threshold: limit))
  }
}
