import CDejaVuBLAS

/// The rate of a BLAS' float32 matrix product, the yardstick of the prompt phase.
package final class ProductRate {
  package let library: String
  private let shape: (m: Int, n: Int, k: Int)
  private var a: [Float]
  private var b: [Float]
  private var c: [Float]
  private let threads: Int
  package private(set) var gigaflopsPerSecond: [Double] = []

  /// - Returns: nil where no BLAS is installed.
  package init?(tokens: Int, columns: Int, inner: Int, threads: Int) {
    guard let name = dejavu_blas_load() else { return nil }
    library = String(cString: name)
    shape = (tokens, columns, inner)
    self.threads = threads
    a = (0..<tokens * inner).map { Float($0 % 17) * 0.01 }
    b = (0..<columns * inner).map { Float($0 % 13) * 0.01 }
    c = Array(repeating: 0, count: tokens * columns)
  }

  package func sample() {
    dejavu_blas_set_threads(Int32(threads))
    let clock = ContinuousClock()
    let time = clock.measure {
      a.withUnsafeBufferPointer { a in
        b.withUnsafeBufferPointer { b in
          c.withUnsafeMutableBufferPointer { c in
            guard let a = a.baseAddress, let b = b.baseAddress, let c = c.baseAddress else {
              return
            }
            var job = dejavu_sgemm_job(
              transposes_a: 0, transposes_b: 1, m: Int32(shape.m), n: Int32(shape.n),
              k: Int32(shape.k), alpha: 1, beta: 0, a: a, lda: Int32(shape.k), b: b,
              ldb: Int32(shape.k), c: c, ldc: Int32(shape.n))
            dejavu_blas_sgemm(&job)
          }
        }
      }
    }
    let flops = 2 * Double(shape.m) * Double(shape.n) * Double(shape.k)
    gigaflopsPerSecond.append(flops / 1e9 / time.seconds)
  }

  package var median: Double { Statistics.median(gigaflopsPerSecond) }
}
