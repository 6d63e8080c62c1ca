package import DejaVuCPU

/// T, upper triangular, with A = Tᵀ T: the Cholesky factor of a symmetric positive definite matrix.
package enum TriangularFactor {
  /// Rows that are factored at once, between products of whole blocks.
  private static let block = 128

  /// Factors in place.
  ///
  /// Blocks on the diagonal are factored in double precision; what they take from the rest is a
  /// float32 product.
  ///
  /// - Parameters:
  ///   - a: `[n, n]`; the upper half is read and becomes T, the lower half is left as it is.
  ///   - n: rows and columns.
  ///   - arithmetic: the threads and products to use.
  /// - Returns: false where A is not positive definite, or holds numbers that are not finite; `a` is
  ///   of no use then.
  package static func factor(
    _ a: CPUBuffer, width n: Int, arithmetic: DenseArithmetic
  ) -> Bool {
    for start in stride(from: 0, to: n, by: block) {
      let end = min(start + block, n)
      guard factorDiagonal(a, start..<end) else { return false }
      guard end < n else { break }
      solve(a, start..<end, columns: end..<n, arithmetic)
      subtract(a, start..<end, columns: end..<n, arithmetic)
    }
    return true
  }

  private static func factorDiagonal(_ a: CPUBuffer, _ range: Range<Int>) -> Bool {
    let (count, start) = (range.count, range.lowerBound)
    var t = [Double](repeating: 0, count: count * count)
    for i in 0..<count {
      for j in i..<count {
        var sum = Double(a.row(start + i)[start + j])
        for k in 0..<i { sum -= t[k * count + i] * t[k * count + j] }
        if i == j {
          guard sum > 0, sum.isFinite else { return false }
          t[i * count + i] = sum.squareRoot()
        } else {
          t[i * count + j] = sum / t[i * count + i]
        }
        a.row(start + i)[start + j] = Float(t[i * count + j])
      }
    }
    return true
  }

  /// T[range, columns] from Tᵀ[range, range] · T[range, columns] = A[range, columns].
  private static func solve(
    _ a: CPUBuffer, _ range: Range<Int>, columns: Range<Int>, _ arithmetic: DenseArithmetic
  ) {
    nonisolated(unsafe) let a = a
    let piece = 256
    arithmetic.run(chunks: (columns.count + piece - 1) / piece) { chunk in
      let first = columns.lowerBound + chunk * piece
      let last = min(first + piece, columns.upperBound)
      for i in range {
        let row = a.row(i)
        for k in range.lowerBound..<i {
          let (scale, above) = (a.row(k)[i], a.row(k))
          for j in first..<last { row[j] -= scale * above[j] }
        }
        let inverse = 1 / row[i]
        for j in first..<last { row[j] *= inverse }
      }
    }
  }

  /// A[columns, columns] −= T[range, columns]ᵀ · T[range, columns], upper half.
  private static func subtract(
    _ a: CPUBuffer, _ range: Range<Int>, columns: Range<Int>, _ arithmetic: DenseArithmetic
  ) {
    let strip = 256
    let left = CPUBuffer(capacity: strip, width: range.count)
    let product = CPUBuffer(capacity: strip, width: columns.count)
    for first in stride(from: columns.lowerBound, to: columns.upperBound, by: strip) {
      let rows = min(strip, columns.upperBound - first)
      for (k, source) in range.enumerated() {
        for i in 0..<rows { left.row(i)[k] = a.row(source)[first + i] }
      }
      arithmetic.pack(left.base, stride: left.stride, rows: rows, columns: range.count)
      let count = columns.upperBound - first
      arithmetic.multiply(
        columns: a.row(range.lowerBound) + first, count: count, stride: a.stride,
        into: product.base, stride: product.stride)
      nonisolated(unsafe) let (a, product) = (a, product)
      arithmetic.run(chunks: rows) { i in
        let (to, from) = (a.row(first + i) + first, product.row(i))
        for j in 0..<count { to[j] -= from[j] }
      }
    }
  }
}
