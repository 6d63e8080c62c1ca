package import DejaVuCPU

/// Second moments Σ xᵀ x of what a matrix reads, over calibration tokens.
package final class InputMoments {
  package let width: Int
  /// Whether only Σ x² is kept.
  package let isDiagonal: Bool
  package private(set) var tokens = 0
  /// `[n, n]`, the upper half; `[1, n]` where only the diagonal is kept.
  private let sums: CPUBuffer
  private let arithmetic: DenseArithmetic
  private var transposed = CPUBuffer(capacity: 0, width: 0)
  private var product = CPUBuffer(capacity: 0, width: 0)
  private static let strip = 256

  package init(width: Int, isDiagonal: Bool = false, arithmetic: DenseArithmetic) {
    self.width = width
    self.isDiagonal = isDiagonal
    self.arithmetic = arithmetic
    sums = CPUBuffer(capacity: isDiagonal ? 1 : width, width: width)
  }

  /// Takes in the inputs of a batch.
  ///
  /// - Parameters:
  ///   - values: `[tokens, stride]`.
  ///   - tokens: of the batch.
  ///   - stride: floats from one token to the next.
  package func add(_ values: UnsafePointer<Float>, tokens: Int, stride: Int) {
    self.tokens += tokens
    guard !isDiagonal else {
      let sum = sums.row(0)
      for t in 0..<tokens {
        let row = values + t * stride
        for i in 0..<width { sum[i] += row[i] * row[i] }
      }
      return
    }
    if transposed.stride < tokens || transposed.capacity < Self.strip {
      transposed = CPUBuffer(capacity: Self.strip, width: tokens)
      product = CPUBuffer(capacity: Self.strip, width: width)
    }
    for first in Swift.stride(from: 0, to: width, by: Self.strip) {
      addStrip(first, values, tokens: tokens, stride: stride)
    }
  }

  /// Rows `first...` of the sums, from the diagonal on.
  private func addStrip(
    _ first: Int, _ values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    let rows = min(Self.strip, width - first)
    for t in 0..<tokens {
      let row = values + t * stride + first
      for i in 0..<rows { transposed.row(i)[t] = row[i] }
    }
    let count = width - first
    arithmetic.pack(transposed.base, stride: transposed.stride, rows: rows, columns: tokens)
    arithmetic.multiply(
      columns: values + first, count: count, stride: stride, into: product.base,
      stride: product.stride)
    nonisolated(unsafe) let (sums, product) = (sums, product)
    arithmetic.run(chunks: rows) { i in
      let (to, from) = (sums.row(first + i) + first, product.row(i))
      for j in 0..<count { to[j] += from[j] }
    }
  }

  /// Element (i, j) of Σ xᵀ x over the tokens.
  package func moment(_ i: Int, _ j: Int) -> Float {
    if isDiagonal { return i == j ? sums.row(0)[i] : 0 }
    return i <= j ? sums.row(i)[j] : sums.row(j)[i]
  }

  /// Mean of x², `[n]`.
  package var meanSquares: [Float] {
    (0..<width).map { moment($0, $0) / Float(max(tokens, 1)) }
  }

  /// The mean moments with rows and columns in another order, plus `damping` times the mean of the
  /// diagonal on the diagonal.
  ///
  /// - Parameters:
  ///   - order: position by position, which input stands there.
  ///   - damping: positive, so that the matrix is positive definite.
  /// - Returns: `[n, n]`, the upper half.
  package func damped(order: [Int], damping: Float) -> CPUBuffer {
    precondition(order.count == width && !isDiagonal, "an order of \(order.count) of \(width)")
    let result = CPUBuffer(capacity: width, width: width)
    let scale = 1 / Float(max(tokens, 1))
    let mean = meanSquares.reduce(0.0) { $0 + Double($1) } / Double(width)
    // Inputs that never fire would leave a zero diagonal whatever the damping.
    let shift = max(Float(mean) * damping, .leastNormalMagnitude * 1e8)
    nonisolated(unsafe) let (target, moments) = (result, self)
    arithmetic.run(chunks: width) { i in
      let row = target.row(i)
      for j in i..<order.count { row[j] = moments.moment(order[i], order[j]) * scale }
      row[i] += shift
    }
    return result
  }
}
