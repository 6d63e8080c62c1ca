package import DejaVuCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Σ_i a[i] · b[i].
func dot(_ a: [Float], _ b: [Float]) -> Double {
  precondition(a.count == b.count, "\(a.count) values against \(b.count)")
  return zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
}

extension RowMatrix {
  func row(_ row: Int) -> [Float] { (0..<columns).map { element(row, $0) } }

  /// Σ_c w[row, c] · x[c].
  func dot(row: Int, _ x: [Float]) -> Double {
    precondition(x.count == columns, "\(x.count) values against \(columns) columns")
    var sum = 0.0
    for column in 0..<columns { sum += Double(element(row, column)) * Double(x[column]) }
    return sum
  }

  /// y[r] = Σ_c w[r, c] · x[c].
  func times(_ x: [Float]) -> [Float] { (0..<rows).map { Float(dot(row: $0, x)) } }

  /// sum[c] += a · w[row, c].
  func accumulate(row: Int, times a: Double, into sum: inout [Double]) {
    precondition(sum.count == columns, "\(sum.count) sums for \(columns) columns")
    for column in 0..<columns { sum[column] += a * Double(element(row, column)) }
  }
}

extension Activation {
  /// σ(x), by its definition in double precision.
  package func callAsFunction(_ x: Double) -> Double {
    switch self {
    case .relu: x < 0 ? 0 : x
    case .gelu: 0.5 * x * (1 + erf(x / 2.0.squareRoot()))
    case .geluTanh: 0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
    case .silu: x / (1 + exp(-x))
    }
  }
}
