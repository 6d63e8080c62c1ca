import DejaVuEvaluation
import Testing

struct CholeskyTests {
  @Test(arguments: [1, 2, 7, 40])
  func `an inverse times its matrix is the identity`(n: Int) {
    // A = B Bᵀ + 1 with entries of a fixed pattern.
    func b(_ i: Int, _ j: Int) -> Double { Double((i * 31 + j * 17) % 23) / 11 - 1 }
    var matrix = [Double](repeating: 0, count: n * n)
    for i in 0..<n {
      for j in 0..<n {
        matrix[i * n + j] = (0..<n).reduce(i == j ? 1 : 0) { $0 + b(i, $1) * b(j, $1) }
      }
    }
    let inverse = CholeskyInverse.of(matrix, width: n)
    for i in 0..<n {
      for j in 0..<n {
        let product = (0..<n).reduce(0.0) { $0 + matrix[i * n + $1] * inverse[$1 * n + j] }
        #expect(abs(product - (i == j ? 1 : 0)) < 1e-9)
      }
    }
  }
}
