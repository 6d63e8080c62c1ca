import CDejaVuKernels
package import DejaVuCore

extension ShadowMaker {
  /// Whether rows of this format come apart into halves that choosers read: symmetric codes of
  /// 4 or 8 bits in groups of 64 or 128.
  package static func canNest(_ format: WeightFormat) -> Bool {
    guard let format = format.groupwise else { return false }
    return [4, 8].contains(format.bits) && !format.hasZeros && format.group >= 64
  }

  /// What a layer's neurons are stored in.
  package func format(layer: Int) -> String {
    backend.model.layers[layer].bundle.matrix.format.name
  }

  /// The rows that decide whether a layer's neurons fire, parted: their high bits are the shadow,
  /// so that it costs no byte that a chosen neuron would not read anyway.
  ///
  /// - Returns: nil where the format cannot be parted (``canNest(_:)``), or a scale is too great to
  ///   be multiplied by 2 to the bits of a half.
  package func nested(layer: Int) -> ChooserWeights? {
    let weights = backend.model.layers[layer]
    let bundle = weights.bundle
    guard Self.canNest(bundle.matrix.format), let format = bundle.matrix.format.groupwise else {
      return nil
    }
    let (bits, rows) = (format.bits / 2, bundle.neurons)
    let columns = (bundle.matrix.columns + 63) / 64 * 64
    let half = GroupwiseMatrix.rowBytes(columns: columns, bits: bits)
    let rest = (bundle.rowsPerNeuron - 1) * bundle.matrix.stride
    let high = GroupwiseStorage(byteCount: half * rows)
    let low = GroupwiseStorage(byteCount: (half + rest) * rows)
    let factors = part(bundle, columns, (high.base, half), (low.base, half + rest))
    guard factors.allSatisfy({ $0.isFinite }) else { return nil }
    let bias = bundle.gate == nil ? weights.upBias : weights.gateBias
    var chooser = ChooserWeights(
      first: GroupwiseMatrix(
        base: high.base, bits: bits, rows: rows, columns: columns, owner: high),
      norm: .mlp, bias: nil, gain: nil)
    // factor · (ŵ · x) + b, times the norm: the factor goes into what is added and multiplied.
    let norms = backend.downNorms(layer: layer)
    chooser.bias = bias.map { bias in vector(rows) { bias.base[$0] / factors[$0] } }
    chooser.gain = vector(rows) { norms[$0] * factors[$0] }
    chooser.nested = NestedRows(base: low.base, lowBytes: half, owner: low)
    return chooser
  }

  private func vector(_ count: Int, _ value: (Int) -> Float) -> FloatVector {
    let storage = GroupwiseStorage(byteCount: count * 4)
    let values = storage.base.assumingMemoryBound(to: Float.self)
    for i in 0..<count { values[i] = value(i) }
    return FloatVector(base: UnsafePointer(values), count: count, owner: storage)
  }

  /// Fills in both halves of every neuron's first row, its other rows behind the low one; returns
  /// what each high half is best multiplied by to stand for both.
  private func part(
    _ bundle: NeuronBundle, _ columns: Int, _ high: (base: UnsafeMutableRawPointer, stride: Int),
    _ low: (base: UnsafeMutableRawPointer, stride: Int)
  ) -> [Float] {
    let room = CPUBuffer(capacity: 1, width: bundle.neurons)
    nonisolated(unsafe) let (high, low, factors) = (high, low, room.base)
    nonisolated(unsafe) let kernels = backend.kernels
    let matrix = bundle.matrix
    let code = backend.code(of: matrix.format)
    let piece = 64
    backend.team.run(chunks: (bundle.neurons + piece - 1) / piece) { chunk in
      for neuron in chunk * piece..<min((chunk + 1) * piece, bundle.neurons) {
        let from = matrix.base + neuron * bundle.rowsPerNeuron * matrix.stride
        let to = low.base + neuron * low.stride
        factors[neuron] = kernels.pointee.coded_halves(
          high.base + neuron * high.stride, to, from, matrix.columns, columns, code)
        let half = high.stride
        (to + half).copyMemory(from: from + matrix.stride, byteCount: low.stride - half)
      }
    }
    return (0..<bundle.neurons).map { room.base[$0] }
  }
}
