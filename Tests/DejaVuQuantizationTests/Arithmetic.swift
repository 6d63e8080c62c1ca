import DejaVuCPU
import DejaVuCore
import DejaVuQuantization
import Testing

/// Small seeded problems.
enum Arithmetic {
  static func make() throws -> DenseArithmetic {
    DenseArithmetic(
      team: try ThreadTeam(threads: 2), kernels: try #require(InstructionSet.best.table))
  }

  static func random(rows: Int, columns: Int, seed: UInt64) -> CPUBuffer {
    var state = seed
    let buffer = CPUBuffer(capacity: rows, width: columns)
    for row in 0..<rows {
      for column in 0..<columns {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        buffer.row(row)[column] = Float(state >> 40) * 0x1p-23 - 1
      }
    }
    return buffer
  }

  /// Moments of correlated inputs.
  static func moments(width: Int, tokens: Int, _ arithmetic: DenseArithmetic) -> InputMoments {
    let values = random(rows: tokens, columns: width, seed: 3)
    for t in 0..<tokens {
      for i in 1..<max(width, 1) { values.row(t)[i] += 0.8 * values.row(t)[i - 1] }
    }
    let moments = InputMoments(width: width, arithmetic: arithmetic)
    moments.add(values.base, tokens: tokens, stride: values.stride)
    return moments
  }

  static func turned(_ matrix: CPUBuffer, rows: Int, columns: Int) -> CPUBuffer {
    let result = CPUBuffer(capacity: columns, width: rows)
    for row in 0..<rows {
      for column in 0..<columns { result.row(column)[row] = matrix.row(row)[column] }
    }
    return result
  }

  /// Gaussian elimination of a positive definite system.
  static func solve(_ matrix: [[Double]], _ right: [Double]) -> [Double] {
    var (a, x) = (matrix, right)
    for k in a.indices {
      for i in a.indices where i > k {
        let scale = a[i][k] / a[k][k]
        for j in k..<a.count { a[i][j] -= scale * a[k][j] }
        x[i] -= scale * x[k]
      }
    }
    for k in a.indices.reversed() {
      for j in k + 1..<max(a.count, k + 1) { x[k] -= a[k][j] * x[j] }
      x[k] /= a[k][k]
    }
    return x
  }

  /// Σ dᵀ H d over the outputs.
  static func error(
    _ rows: [GroupwiseRow], _ format: GroupwiseFormat, _ weights: CPUBuffer, _ inputs: Int,
    _ outputs: Int, _ moments: InputMoments, _ alongOutputs: Bool
  ) -> Double {
    let values = rows.map { RowRoundingTests.weights(of: $0, format) }
    var sum = 0.0
    for output in 0..<outputs {
      let d = (0..<inputs).map {
        Double(weights.row($0)[output])
          - Double(alongOutputs ? values[$0][output] : values[output][$0])
      }
      for i in 0..<inputs {
        for j in 0..<inputs { sum += d[i] * d[j] * Double(moments.moment(i, j)) }
      }
    }
    return sum
  }
}
