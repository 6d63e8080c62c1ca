import CDejaVuKernels
import DejaVuCPU
import DejaVuCore
import DejaVuReference
import DejaVuTestSupport
import Testing

/// One way to run the rows of an MLP.
struct MLPCase: Sendable {
  var activation: Activation
  var isGated: Bool
  var skips: Bool
  var threshold: Float = 0
  var isListed: Bool
  var isScattered: Bool
  var prefetchesDown: Bool

  /// Every combination of flags.
  static var all: [MLPCase] {
    var cases: [MLPCase] = []
    for activation in Activation.all {
      for flags in 0..<32 {
        let one = MLPCase(
          activation: activation, isGated: flags & 1 != 0, skips: flags & 2 != 0,
          isListed: flags & 4 != 0, isScattered: flags & 8 != 0, prefetchesDown: flags & 16 != 0)
        cases.append(one)
        guard one.skips else { continue }
        var coarse = one
        coarse.threshold = 0.4
        cases.append(coarse)
      }
    }
    return cases
  }
}

/// Random rows of an MLP with their sums in double precision.
struct MLPRows {
  static let neurons = 37
  let d: Int
  let isGated: Bool
  let bundle: StoredMatrix
  let x: [Float]
  let biases: [[Float]]
  let list: [Int32]
  /// Pre-activations of up and gate rows, and the magnitudes that were added up.
  private let sums: [[Double]]
  private let norms: [[Double]]

  init(_ dtype: DType, d: Int, isGated: Bool, random: inout SeededRandom) {
    self.d = d
    self.isGated = isGated
    let rows = isGated ? 3 : 2
    bundle = StoredMatrix(
      dtype, rows: Self.neurons * rows, columns: d, gap: 32, scale: 1 / Float(d).squareRoot(),
      random: &random)
    x = random.units(d)
    biases = [random.units(Self.neurons), random.units(Self.neurons)]
    list = random.rows(of: Self.neurons, density: 0.6)
    let (wide, values) = (x.map { Double($0) }, bundle.values)
    sums = (0..<Self.neurons).map { i in
      (0..<rows - 1).map { dot(values[i * rows + $0], wide) }
    }
    norms = (0..<Self.neurons).map { i in
      (0..<rows - 1).map { magnitude(values[i * rows + $0], wide) }
    }
  }

  /// A neuron's activation and how large the numbers behind it were.
  private func activation(_ i: Int, _ one: MLPCase) -> (value: Double, norm: Double) {
    let up = sums[i][isGated ? 1 : 0] + Double(biases[0][i])
    let upNorm = norms[i][isGated ? 1 : 0] + Double(abs(biases[0][i]))
    guard isGated else { return (one.activation(up), upNorm) }
    let gate = one.activation(sums[i][0] + Double(biases[1][i]))
    let gateNorm = norms[i][0] + Double(abs(biases[1][i]))
    return (gate * up, gateNorm * upNorm)
  }

  func check(_ set: InstructionSet, _ one: MLPCase, first: Int, count: Int) throws {
    let kernels = try set.rows(bundle.dtype)
    var acc = [Float](repeating: 0.25, count: d) + stale(8)
    let read = list.withUnsafeBufferPointer { list in
      x.withUnsafeBufferPointer { x in
        biases[0].withUnsafeBufferPointer { up in
          biases[1].withUnsafeBufferPointer { gate in
            guard let x = x.baseAddress else { return 0 }
            var job = dejavu_mlp_job(
              bundle: bundle.base, row_stride: bundle.stride, d: d, x: x,
              up_bias: up.baseAddress, gate_bias: isGated ? gate.baseAddress : nil,
              list: one.isListed ? list.baseAddress : nil, gated: isGated ? 1 : 0,
              activation: one.activation.kernelCode, skips: one.skips ? 1 : 0,
              threshold: one.threshold, down_norms: nil, scattered: one.isScattered ? 1 : 0,
              prefetches_down: one.prefetchesDown ? 1 : 0, nested: nil)
            return kernels.mlp_rows(&job, first, count, &acc)
          }
        }
      }
    }
    hold(acc, read, against: one, entries: first..<first + count)
  }

  private func hold(_ acc: [Float], _ read: Int, against one: MLPCase, entries: Range<Int>) {
    let tolerance = Tolerance.sum(of: d + entries.count).bound + Tolerance.function.bound
    var (sum, slack) = ([Double](repeating: 0.25, count: d), [Double](repeating: 0, count: d))
    var (surely, perhaps) = (0, 0)
    for entry in entries {
      let i = one.isListed ? Int(list[entry]) : entry
      let (a, norm) = activation(i, one)
      let doubt = one.threshold > 0 ? tolerance * norm : 0
      let (above, near) = (
        abs(a) > Double(one.threshold) + doubt, abs(a) > Double(one.threshold) - doubt
      )
      if above || !one.skips { surely += 1 }
      if near || !one.skips { perhaps += 1 }
      let rows = isGated ? 3 : 2
      let down = bundle.values[i * rows + rows - 1]
      for c in 0..<d {
        if above || !one.skips { sum[c] += a * down[c] }
        slack[c] += tolerance * (norm + abs(a)) * abs(down[c])
        if one.skips && near != above { slack[c] += abs(a * down[c]) }
      }
    }
    #expect(surely <= read && read <= perhaps, "\(one): \(read) rows, not \(surely)")
    #expect(acc[d...].allSatisfy { $0.isNaN }, "\(one)")
    let wrong = (0..<d).first { !(abs(Double(acc[$0]) - sum[$0]) <= slack[$0] + tolerance) }
    #expect(wrong == nil, "\(one), d \(d), entries \(entries)")
  }
}

struct MLPKernelTests {
  @Test(arguments: InstructionSet.available, DType.allCases)
  func `mlp_rows is the MLP over its entries, whatever its flags`(
    set: InstructionSet, dtype: DType
  ) throws {
    var random = SeededRandom(seed: 14)
    for d in [32, 96, 3104] {
      for isGated in [false, true] {
        let rows = MLPRows(dtype, d: d, isGated: isGated, random: &random)
        for one in MLPCase.all where one.isGated == isGated {
          // The wide case differs in how down rows are added, not in how neurons are computed.
          if d > 3000 && one.activation != .relu { continue }
          let entries = one.isListed ? rows.list.count : MLPRows.neurons
          try rows.check(set, one, first: 0, count: entries)
          try rows.check(set, one, first: 5, count: 6)
          try rows.check(set, one, first: entries, count: 0)
        }
      }
    }
  }
}
