import DejaVuCore

/// Weights of ``GatherProducts``: the same numbers in both layouts, and room for a copy.
struct GatherMemory {
  private let hidden: Int
  private let neurons: Int
  private let dtype: DType
  private let layers: Int
  private let base: UnsafeMutableRawPointer

  init(hidden: Int, neurons: Int, dtype: DType, layers: Int, base: UnsafeMutableRawPointer) {
    (self.hidden, self.neurons) = (hidden, neurons)
    (self.dtype, self.layers, self.base) = (dtype, layers, base)
  }

  private var matrixBytes: Int { hidden * neurons * dtype.size }

  /// Room for one layer.
  var copy: UnsafeMutableRawPointer { base + 4 * layers * matrixBytes }
  /// `[F, 2, D]`.
  func bundle(_ layer: Int) -> UnsafeRawPointer {
    UnsafeRawPointer(base + 2 * layer * matrixBytes)
  }
  /// W1, `[F, D]`.
  func up(_ layer: Int) -> UnsafeRawPointer {
    UnsafeRawPointer(base + (2 * layers + layer) * matrixBytes)
  }
  /// W2, `[D, F]`.
  func down(_ layer: Int) -> UnsafeRawPointer {
    UnsafeRawPointer(base + (3 * layers + layer) * matrixBytes)
  }

  /// Writes every weight of both layouts.
  func fill(seed: UInt64, copier: RowCopier) {
    let (d, f) = (hidden, neurons)
    let scale = (3 / Float(d)).squareRoot()
    // Matrix 2 · layer is W1, the next one W2; a weight depends on neuron and lane alone.
    let weight = { @Sendable (matrix: Int, neuron: Int, lane: Int) in
      scale * Self.uniform(seed, matrix, neuron * d + lane)
    }
    let count = layers * d * f
    copier.fill(base, dtype: dtype, count: 2 * count) { first, values in
      for i in values.indices {
        let (row, lane) = (first + i).quotientAndRemainder(dividingBy: d)
        values[i] = weight(row / (2 * f) * 2 + row % 2, row % (2 * f) / 2, lane)
      }
    }
    // Touched before anything is measured.
    copy.initializeMemory(as: UInt8.self, repeating: 0, count: 2 * matrixBytes)
    copier.fill(base + 2 * layers * matrixBytes, dtype: dtype, count: count) { first, values in
      for i in values.indices {
        let (row, lane) = (first + i).quotientAndRemainder(dividingBy: d)
        values[i] = weight(2 * (row / f), row % f, lane)
      }
    }
    copier.fill(base + 3 * layers * matrixBytes, dtype: dtype, count: count) { first, values in
      for i in values.indices {
        let (row, neuron) = (first + i).quotientAndRemainder(dividingBy: f)
        values[i] = weight(2 * (row / d) + 1, neuron, row % d)
      }
    }
  }

  /// A number from −1 to 1 that depends on its place alone.
  static func uniform(_ seed: UInt64, _ stream: Int, _ index: Int) -> Float {
    var z = seed &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(stream) << 48 &+ UInt64(index)
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return Float(Int32(truncatingIfNeeded: z >> 32)) / 0x1p31
  }
}
