import CDejaVuBLAS
import Foundation

/// The rate of a BLAS' float32 matrix product, the yardstick of the prompt phase.
///
/// C[tokens, columns] = A[tokens, inner] · B[columns, inner]ᵀ: with the neurons as columns and the
/// stream's width as inner size, the product of a prompt and the MLP's up rows.
package final class ProductRate {
  package let columns: Int
  package let inner: Int
  private var a: [Float]
  private let b: [Float]
  private var c: [Float]
  private let threads: Int
  private var isWarm = false

  /// Elements of B at most: a wider model is stood for by fewer of its neurons.
  private static let greatestCount = 1 << 27
  /// BLAS' threads spin for a while after a call and would take the cores of what follows.
  private static let pause = 0.06
  private static let leastSeconds = 0.1

  /// File name of the BLAS that is taken; nil where none is installed.
  package static var installedLibrary: String? {
    dejavu_blas_load().map { String(cString: $0) }
  }

  /// Allocates and fills the operands; nil where no BLAS is installed.
  ///
  /// - Parameters:
  ///   - tokens: the greatest number of tokens that will be asked for.
  ///   - columns: neurons.
  ///   - inner: width of the stream.
  ///   - threads: threads that multiply.
  package init?(tokens: Int, columns: Int, inner: Int, threads: Int) {
    guard dejavu_blas_load() != nil else { return nil }
    self.columns = max(1, min(columns, Self.greatestCount / inner))
    self.inner = inner
    self.threads = threads
    a = (0..<tokens * inner).map { Float($0 % 17) * 0.01 }
    b = (0..<self.columns * inner).map { Float($0 % 13) * 0.01 }
    c = Array(repeating: 0, count: tokens * self.columns)
  }

  /// Multiplies for at least a tenth of a second.
  ///
  /// - Returns: GFLOP/s.
  /// - Precondition: `tokens` is at most the number given at first.
  package func sample(tokens: Int) -> Double {
    precondition(tokens * inner <= a.count, "\(tokens) tokens, room for \(a.count / inner)")
    dejavu_blas_set_threads(Int32(threads))
    // The first call makes the library's threads and buffers.
    if !isWarm { multiply(tokens) }
    isWarm = true
    let clock = ContinuousClock()
    let start = clock.now
    var (calls, seconds) = (0, 0.0)
    repeat {
      multiply(tokens)
      calls += 1
      seconds = (clock.now - start).seconds
    } while seconds < Self.leastSeconds
    Thread.sleep(forTimeInterval: Self.pause)
    return 2 * Double(calls) * Double(tokens) * Double(columns) * Double(inner) / 1e9 / seconds
  }

  private func multiply(_ tokens: Int) {
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        c.withUnsafeMutableBufferPointer { c in
          guard let a = a.baseAddress, let b = b.baseAddress, let c = c.baseAddress else { return }
          var job = dejavu_sgemm_job(
            transposes_a: 0, transposes_b: 1, m: Int32(tokens), n: Int32(columns),
            k: Int32(inner), alpha: 1, beta: 0, a: a, lda: Int32(inner), b: b,
            ldb: Int32(inner), c: c, ldc: Int32(columns))
          dejavu_blas_sgemm(&job)
        }
      }
    }
  }
}
