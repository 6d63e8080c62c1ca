import CDejaVuKernels
import DejaVuCPU
import DejaVuCore
import DejaVuTestSupport
import Testing

/// A matrix product's operands and its result in double precision.
struct ProductCase {
  static let tokens = [1, 2, 11, 12, 13, 25]
  static let columns = [1, 15, 31, 32, 33, 64, 100]

  let k: Int
  let a: Vectors
  /// `[n][k]` weights by rows; `[k][n]` by columns.
  let b: StoredMatrix
  let byRows: Bool
  private let sums: [[Double]]
  private let norms: [[Double]]

  init(_ dtype: DType, k: Int, byRows: Bool, random: inout SeededRandom) {
    self.k = k
    self.byRows = byRows
    a = Vectors(25, width: k, random: &random)
    b =
      byRows
      ? StoredMatrix(dtype, rows: 100, columns: k, gap: 32, random: &random)
      : StoredMatrix(dtype, rows: k, columns: 100, padding: 1, gap: 5, random: &random)
    let values = b.values
    let columns =
      byRows ? values : (0..<100).map { n in (0..<k).map { values[$0][n] } }
    let rows = (0..<25).map { [a] in a[$0] }
    sums = rows.map { row in columns.map { dot(row, $0) } }
    norms = rows.map { row in columns.map { magnitude(row, $0) } }
  }

  /// Multiplies and holds the result against the sums.
  func check(
    _ set: InstructionSet, inBFloat16: Bool, tokens: Int, columns: Range<Int>, accumulates: Bool
  ) throws {
    let table = try #require(set.table)
    let kernels = try set.rows(b.dtype)
    var packed = stale(dejavu_packed_a_bytes(table, tokens, k) / 4)
    let pack = inBFloat16 ? try #require(table.pointee.pack_a_bf16) : table.pointee.pack_a
    let multiply = inBFloat16 ? try #require(kernels.gemm_bf16) : kernels.gemm
    pack(&packed, a.storage, a.stride, tokens, k)
    let stride = 103
    let start: Float = accumulates ? 0.5 : .nan
    var c = stale(tokens * stride)
    for t in 0..<tokens { for n in columns { c[t * stride + n] = start } }
    var scratch = stale(dejavu_gemm_scratch() / 4)
    packed.withUnsafeBytes { packed in
      c.withUnsafeMutableBufferPointer { c in
        guard let a = packed.baseAddress, let out = c.baseAddress else { return }
        var job = dejavu_gemm_job(
          packed_a: a, tokens: tokens, k: k, b: b.base, b_stride: b.stride,
          scales: dejavu_scale_rows(), by_rows: byRows ? 1 : 0, accumulates: accumulates ? 1 : 0,
          c: out, c_stride: stride,
          epilogue: nil)
        multiply(&job, columns.lowerBound, columns.count, &scratch)
      }
    }
    let tolerance = inBFloat16 ? Tolerance.brainSum(of: k) : .sum(of: k)
    for t in 0..<tokens {
      for n in 0..<stride {
        let found = c[t * stride + n]
        let right =
          columns.contains(n)
          ? tolerance.allows(
            found, sums[t][n] + (accumulates ? 0.5 : 0), norm: norms[t][n] + 0.5)
          : found.isNaN
        guard !right else { continue }
        Issue.record("k \(k), \(tokens) tokens, columns \(columns): c[\(t), \(n)] is \(found)")
        return
      }
    }
  }

  func checkAll(_ set: InstructionSet, inBFloat16: Bool) throws {
    for tokens in Self.tokens {
      for count in Self.columns {
        for accumulates in [false, true] {
          try check(
            set, inBFloat16: inBFloat16, tokens: tokens, columns: 0..<count,
            accumulates: accumulates)
        }
      }
      // A strip in the middle, as threads take them.
      try check(
        set, inBFloat16: inBFloat16, tokens: tokens, columns: 64..<100, accumulates: false)
    }
  }
}

struct ProductKernelTests {
  @Test(arguments: InstructionSet.available, DType.allCases)
  func `a product by rows is the sum over columns`(set: InstructionSet, dtype: DType) throws {
    var random = SeededRandom(seed: 11)
    for k in [16, 32, 96, 256, 288, 512] {
      let product = ProductCase(dtype, k: k, byRows: true, random: &random)
      try product.checkAll(set, inBFloat16: false)
    }
  }

  @Test(arguments: InstructionSet.available, DType.allCases)
  func `a product by columns is the sum over rows`(set: InstructionSet, dtype: DType) throws {
    var random = SeededRandom(seed: 12)
    for k in [1, 7, 32, 172, 256, 257, 301] {
      let product = ProductCase(dtype, k: k, byRows: false, random: &random)
      try product.checkAll(set, inBFloat16: false)
    }
  }

  @Test(
    .enabled(if: InstructionSet.best.multipliesBFloat16, "no bfloat16 products here"),
    arguments: DType.allCases)
  func `products in bfloat16 lose only what rounding the operands loses`(dtype: DType) throws {
    var random = SeededRandom(seed: 13)
    for k in [32, 96, 512, 544, 1056] {
      let product = ProductCase(dtype, k: k, byRows: true, random: &random)
      try product.checkAll(.best, inBFloat16: true)
    }
    for k in [1, 2, 7, 172, 512, 513, 1027] {
      let product = ProductCase(dtype, k: k, byRows: false, random: &random)
      try product.checkAll(.best, inBFloat16: true)
    }
  }
}
