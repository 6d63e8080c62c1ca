import DejaVuCPU
import DejaVuCore
import DejaVuQuantization
import Testing

struct FeedbackRoundingTests {
  @Test(arguments: [1, 5, 130, 300])
  func `a factor times itself is the matrix`(n: Int) throws {
    let arithmetic = try Arithmetic.make()
    let moments = Arithmetic.moments(width: n, tokens: 2 * n + 3, arithmetic)
    let order = Array(0..<n)
    let matrix = moments.damped(order: order, damping: 0.01)
    let factor = moments.damped(order: order, damping: 0.01)
    #expect(TriangularFactor.factor(factor, width: n, arithmetic: arithmetic))
    for i in 0..<n {
      for j in i..<n {
        let product = (0...i).reduce(0.0) { $0 + Double(factor.row($1)[i] * factor.row($1)[j]) }
        #expect(abs(product - Double(matrix.row(i)[j])) < 2e-4 * Double(matrix.row(j)[j] + 1))
      }
    }
  }

  @Test func `a matrix that is not positive definite is refused`() throws {
    let matrix = CPUBuffer(capacity: 2, width: 2)
    (matrix.row(0)[0], matrix.row(0)[1], matrix.row(1)[1]) = (1, 2, 1)
    #expect(!TriangularFactor.factor(matrix, width: 2, arithmetic: try Arithmetic.make()))
    matrix.row(0)[0] = .nan
    #expect(!TriangularFactor.factor(matrix, width: 2, arithmetic: try Arithmetic.make()))
  }

  /// The definition: after an input is rounded, those that are left take the values that a dense
  /// least-squares solve gives them.
  @Test(arguments: [false, true])
  func `each input is rounded where a dense solve puts it`(alongOutputs: Bool) throws {
    let (inputs, outputs) = (40, 33)
    let arithmetic = try Arithmetic.make()
    let moments = Arithmetic.moments(width: inputs, tokens: 100, arithmetic)
    let weights = Arithmetic.random(rows: inputs, columns: outputs, seed: 5)
    let format = try #require(GroupwiseFormat(bits: 4, group: 32, hasZeros: true))
    let rounding = FeedbackRounding(
      GroupFit(format: format, method: .range),
      groups: alongOutputs ? .alongOutputs : .alongInputs, arithmetic: arithmetic)
    let rows = try #require(
      rounding.round(
        weights, outputs: outputs, moments: moments, sequence: Array(0..<inputs), damping: 0.01))
    let damped = moments.damped(order: Array(0..<inputs), damping: 0.01)
    let values = rows.map { RowRoundingTests.weights(of: $0, format) }
    func rounded(_ input: Int, _ output: Int) -> Double {
      Double(alongOutputs ? values[input][output] : values[output][input])
    }
    for output in 0..<outputs {
      for k in stride(from: 0, to: inputs, by: 7) {
        // d[0..<k] is fixed; d[k...] minimises dᵀ H d: H[k..., k...] d[k...] = −H[k..., ..<k] d[..<k].
        let fixed = (0..<k).map { Double(weights.row($0)[output]) - rounded($0, output) }
        let rest = Array(k..<inputs)
        let right = rest.map { i in
          (0..<k).reduce(0.0) { $0 - Double(damped.row($1)[i]) * fixed[$1] }
        }
        let solved = Arithmetic.solve(
          rest.map { i in
            rest.map { j in Double(damped.row(min(i, j))[max(i, j)]) }
          }, right)
        let target = Double(weights.row(k)[output]) - solved[0]
        let (row, column) = alongOutputs ? (rows[k], output) : (rows[output], k)
        let scale = HalfPrecision.float(half: row.scales[column / format.group])
        let code = row.codes[column]
        // Inside the range of the codes the nearest one is half a step away at most.
        guard code > 0, Int(code) < format.greatestCode else { continue }
        #expect(abs(rounded(k, output) - target) <= Double(scale) * 0.5 + 1e-4)
      }
    }
  }

  @Test(
    arguments: [
      "int2-g32", "int3-g32", "int4-g64-zeros", "int6-g32", "int8-g64-zeros",
    ], [false, true])
  func `feedback never leaves more error than rounding`(
    name: String, alongOutputs: Bool
  ) throws {
    let (inputs, outputs) = (200, 96)
    let format = try #require(GroupwiseFormat(name: name))
    let arithmetic = try Arithmetic.make()
    let moments = Arithmetic.moments(width: inputs, tokens: 600, arithmetic)
    let weights = Arithmetic.random(rows: inputs, columns: outputs, seed: 9)
    let fit = GroupFit(format: format, method: .range)
    let rounding = FeedbackRounding(
      fit, groups: alongOutputs ? .alongOutputs : .alongInputs, arithmetic: arithmetic)
    let plain =
      alongOutputs
      ? RowRounding(fit).rows(
        weights, rows: inputs, columns: outputs, importance: nil, arithmetic: arithmetic)
      : RowRounding(fit).rows(
        Arithmetic.turned(weights, rows: inputs, columns: outputs), rows: outputs,
        columns: inputs, importance: nil, arithmetic: arithmetic)
    func error(_ rows: [GroupwiseRow]) -> Double {
      Arithmetic.error(rows, format, weights, inputs, outputs, moments, alongOutputs)
    }
    for byStrength in [false, true] {
      let rows = try #require(
        rounding.round(
          weights, outputs: outputs, moments: moments,
          sequence: FeedbackRounding.sequence(moments, byStrength: byStrength), damping: 0.01))
      #expect(error(rows) < error(plain) * 0.8)
    }
  }

  @Test(arguments: [false, true])
  func `inputs that never fire are rounded as they are`(alongOutputs: Bool) throws {
    let (inputs, outputs) = (70, 40)
    let format = try #require(GroupwiseFormat(name: "int4-g32"))
    let arithmetic = try Arithmetic.make()
    let weights = Arithmetic.random(rows: inputs, columns: outputs, seed: 4)
    let fit = GroupFit(format: format, method: .range)
    // Nothing fires: there is no error to make up for, whatever the damping.
    let moments = InputMoments(width: inputs, arithmetic: arithmetic)
    let zeros = CPUBuffer(capacity: 9, width: inputs)
    moments.add(zeros.base, tokens: 9, stride: zeros.stride)
    let rounding = FeedbackRounding(
      fit, groups: alongOutputs ? .alongOutputs : .alongInputs, arithmetic: arithmetic)
    let rows = try #require(
      rounding.round(
        weights, outputs: outputs, moments: moments, sequence: Array(0..<inputs), damping: 0.01))
    let turned = Arithmetic.turned(weights, rows: inputs, columns: outputs)
    let plain = RowRounding(fit).rows(
      alongOutputs ? weights : turned, rows: alongOutputs ? inputs : outputs,
      columns: alongOutputs ? outputs : inputs, importance: nil, arithmetic: arithmetic)
    #expect(rows == plain)
  }

  @Test func `moments that are not finite have no rounding`() throws {
    let arithmetic = try Arithmetic.make()
    let weights = Arithmetic.random(rows: 8, columns: 4, seed: 4)
    let values = Arithmetic.random(rows: 5, columns: 8, seed: 6)
    values.row(2)[3] = .infinity
    let moments = InputMoments(width: 8, arithmetic: arithmetic)
    moments.add(values.base, tokens: 5, stride: values.stride)
    let fit = GroupFit(format: try #require(GroupwiseFormat(name: "int4-g32")), method: .range)
    let rounding = FeedbackRounding(fit, groups: .alongOutputs, arithmetic: arithmetic)
    #expect(
      rounding.round(
        weights, outputs: 4, moments: moments, sequence: Array(0..<8), damping: 0.01) == nil)
  }
}
