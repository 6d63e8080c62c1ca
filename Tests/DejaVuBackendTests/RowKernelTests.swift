import CDejaVuKernels
import DejaVuCPU
import DejaVuCore
import DejaVuTestSupport
import Testing

struct RowKernelTests {
  @Test(arguments: InstructionSet.available, DType.allCases)
  func `dot_rows is the product, and a token's share does not depend on its company`(
    set: InstructionSet, dtype: DType
  ) throws {
    let kernels = try set.rows(dtype)
    var random = SeededRandom(seed: 1)
    for d in [32, 96, 256, 288, 3104] {
      let w = StoredMatrix(dtype, rows: 7, columns: d, gap: 32, random: &random)
      let x = Vectors(9, width: d, random: &random)
      for tokens in [1, 2, 3, 4, 5, 8, 9] {
        var y = stale(tokens * 8)
        kernels.dot_rows(&y, 8, w.base, w.stride, 7, x.storage, x.stride, tokens, d)
        for t in 0..<tokens {
          var alone = stale(7)
          let own = Array(x.storage[(t * x.stride)...])
          kernels.dot_rows(&alone, 7, w.base, w.stride, 7, own, x.stride, 1, d)
          #expect(y[t * 8..<t * 8 + 7].map(\.bitPattern) == alone.map(\.bitPattern))
          #expect(y[t * 8 + 7].isNaN, "a row too many was written")
          for r in 0..<7 {
            let norm = magnitude(w.values[r], x[t])
            #expect(
              Tolerance.sum(of: d).allows(alone[r], dot(w.values[r], x[t]), norm: norm),
              "d \(d), row \(r)")
          }
        }
      }
    }
  }

  @Test(arguments: InstructionSet.available, DType.allCases)
  func `axpy_rows is the weighted sum, the same bits in any grouping`(
    set: InstructionSet, dtype: DType
  ) throws {
    let kernels = try set.rows(dtype)
    var random = SeededRandom(seed: 2)
    for d in [32, 96, 288, 3072, 3104] {
      let w = StoredMatrix(dtype, rows: 11, columns: d, gap: 32, random: &random)
      let a = random.units(11)
      let start = random.units(d)
      for rows in [1, 3, 4, 5, 8, 11] {
        var (together, apart) = (start + stale(8), start + stale(8))
        kernels.axpy_rows(&together, w.base, w.stride, a, rows, d)
        for r in 0..<rows {
          kernels.axpy_rows(&apart, w.base + r * w.stride, w.stride, [a[r]], 1, d)
        }
        #expect(together.map(\.bitPattern) == apart.map(\.bitPattern), "d \(d), \(rows) rows")
        #expect(together[d...].allSatisfy { $0.isNaN })
        let weights = a[..<rows].map { Double($0) }
        let wrong = (0..<d).first { i in
          let column = (0..<rows).map { w.values[$0][i] }
          let expected = Double(start[i]) + dot(weights, column)
          let norm = Double(abs(start[i])) + magnitude(weights, column)
          return !Tolerance.sum(of: rows).allows(together[i], expected, norm: norm)
        }
        #expect(wrong == nil, "d \(d), \(rows) rows")
      }
    }
  }

  @Test(arguments: InstructionSet.available, DType.allCases)
  func `scores are scaled products with a slope, and the greatest is returned`(
    set: InstructionSet, dtype: DType
  ) throws {
    let kernels = try set.rows(dtype)
    var random = SeededRandom(seed: 3)
    for h in [16, 32, 80, 128] {
      let keys = StoredMatrix(dtype, rows: 40, columns: h, padding: 16, random: &random)
      let q = random.units(h)
      for count in [1, 15, 16, 17, 33, 40] {
        for slope in [Float(0), 0.25] {
          var scores = stale(count + 8)
          let next = count.isMultiple(of: 2) ? keys.base : nil
          let greatest = kernels.scores(&scores, q, keys.base, count, h, 0.3, slope, next)
          #expect(greatest == scores[..<count].max())
          #expect(scores[count...].allSatisfy { $0.isNaN })
          for s in 0..<count {
            let bias = Double(slope) * Double(s)
            let query = q.map { Double($0) * Double(Float(0.3)) }
            #expect(
              Tolerance.sum(of: h).allows(
                scores[s], dot(query, keys.values[s]) + bias,
                norm: magnitude(query, keys.values[s]) + bias),
              "h \(h), \(count) positions")
          }
        }
      }
    }
  }

  @Test(arguments: InstructionSet.available, DType.allCases)
  func `weigh is the weighted sum of values`(set: InstructionSet, dtype: DType) throws {
    let kernels = try set.rows(dtype)
    var random = SeededRandom(seed: 4)
    for h in [16, 32, 48, 64, 80, 128] {
      let values = StoredMatrix(dtype, rows: 33, columns: h, padding: 16, random: &random)
      let p = random.units(33)
      for count in [1, 2, 3, 16, 33] {
        var out = stale(h + 8)
        kernels.weigh(&out, p, values.base, count, h, count.isMultiple(of: 2) ? values.base : nil)
        #expect(out[h...].allSatisfy { $0.isNaN })
        let weights = p[..<count].map { Double($0) }
        for i in 0..<h {
          let column = (0..<count).map { values.values[$0][i] }
          #expect(
            Tolerance.sum(of: count).allows(
              out[i], dot(weights, column), norm: magnitude(weights, column)),
            "h \(h), \(count) positions")
        }
      }
    }
  }
}
