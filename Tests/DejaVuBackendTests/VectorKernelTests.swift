import CDejaVuKernels
import DejaVuCPU
import DejaVuCore
import DejaVuReference
import DejaVuTestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

struct VectorKernelTests {
  @Test(arguments: InstructionSet.available)
  func `exponentiate is e to the difference, zero far below, and returns the sum`(
    set: InstructionSet
  ) throws {
    let kernels = try set.kernels()
    var random = SeededRandom(seed: 6)
    for count in [1, 7, 16, 33, 100] {
      for (range, max) in [(Float(1), Float(0)), (30, 7), (60, -1000)] {
        let scores = (0..<count).map { $0 % 8 == 7 ? max : max - range * abs(random.unit()) }
        var found = scores + stale(4)
        let sum = kernels.exponentiate(&found, count, max)
        #expect(found[count...].allSatisfy { $0.isNaN })
        var expectedSum = 0.0
        for s in 0..<count {
          let expected = exp(Double(scores[s] - max))
          // Below the normal range one step of the subnormals is all there is.
          let slack = expected * 4 * Tolerance.unit + 0x1p-149
          #expect(abs(Double(found[s]) - expected) <= slack, "e^\(scores[s] - max)")
          expectedSum += expected
        }
        let slack = Tolerance.sum(of: count).bound * expectedSum + Double(count) * 0x1p-149
        #expect(abs(Double(sum) - expectedSum) <= slack)
      }
    }
    for far in [-104.5, -1000, -Float.infinity] {
      var scores = [Float](repeating: far, count: 19)
      #expect(kernels.exponentiate(&scores, 19, 0) == 0)
      #expect(scores.allSatisfy { $0 == 0 })
    }
  }

  @Test(arguments: InstructionSet.available, [true, false])
  func `norms are their equations, with and without weights, and pad with zeros`(
    set: InstructionSet, hasWeights: Bool
  ) throws {
    let kernels = try set.kernels()
    var random = SeededRandom(seed: 7)
    for n in [1, 5, 31, 96, 100, 512, 4096] {
      let padded = Padding.width(n)
      let x = random.units(n).map { 3 * $0 + 1 } + stale(padded - n)
      let weight: [Float]? = hasWeights ? random.units(n) + stale(1) : nil
      let bias: [Float]? = hasWeights ? random.units(n) + stale(1) : nil
      var (layer, square) = (x, x)
      kernels.layer_norm(&layer, x, weight, bias, 1e-5, n, padded)
      kernels.rms_norm(&square, x, weight, 1e-5, n, padded)
      #expect(layer[n...].allSatisfy { $0 == 0 } && square[n...].allSatisfy { $0 == 0 })
      let values = x[..<n].map { Double($0) }
      let mean = values.reduce(0, +) / Double(n)
      for (found, center, bias) in [(layer, mean, bias), (square, 0, nil)] {
        let squares = values.reduce(0) { $0 + ($1 - center) * ($1 - center) }
        let deviation = (squares / Double(n) + Double(Float(1e-5))).squareRoot()
        let expected = values.indices.map { i in
          (values[i] - center) / deviation * Double(weight?[i] ?? 1) + Double(bias?[i] ?? 0)
        }
        let norm = expected.reduce(1) { max($0, abs($1)) }
        for i in 0..<n {
          #expect(Tolerance.norm(of: n).allows(found[i], expected[i], norm: norm), "n \(n), \(i)")
        }
      }
      // In place.
      var again = x
      again.withUnsafeMutableBufferPointer { again in
        guard let base = again.baseAddress else { return }
        kernels.layer_norm(base, base, weight, bias, 1e-5, n, padded)
      }
      #expect(again == layer)
    }
  }

  @Test(arguments: InstructionSet.available, Activation.all)
  func `activate is the activation, and hides no NaN`(
    set: InstructionSet, activation: Activation
  ) throws {
    let kernels = try set.kernels()
    var random = SeededRandom(seed: 8)
    for count in [1, 5, 16, 33, 64] {
      let x = random.units(count).map { 4 * $0 }
      var found = x + stale(3)
      kernels.activate(&found, count, activation.kernelCode)
      #expect(found[count...].allSatisfy { $0.isNaN })
      for i in 0..<count {
        let expected = activation(Double(x[i]))
        #expect(
          Tolerance.function.allows(found[i], expected, norm: Double(abs(x[i]))),
          "\(activation) of \(x[i])")
      }
      var broken = x
      broken[count / 2] = .nan
      kernels.activate(&broken, count, activation.kernelCode)
      #expect(broken[count / 2].isNaN)
    }
    var ends: [Float] = [0, 100, 1000]
    kernels.activate(&ends, 3, activation.kernelCode)
    #expect(ends == [0, 100, 1000])
  }

  @Test(arguments: InstructionSet.available)
  func `reduce sums parts in order, and add adds a bias first`(set: InstructionSet) throws {
    let kernels = try set.kernels()
    var random = SeededRandom(seed: 9)
    for parts in [1, 2, 5, 16] {
      let x = Vectors(parts, width: 96, random: &random)
      var out = stale(100)
      kernels.reduce(&out, x.storage, x.stride, parts, 96)
      var expected = Array(x.storage[..<96])
      for p in 1..<max(parts, 1) {
        for i in 0..<96 { expected[i] += x.storage[p * x.stride + i] }
      }
      #expect(Array(out[..<96]) == expected)
      #expect(out[96...].allSatisfy { $0.isNaN })
    }
    for n in [1, 16, 37] {
      let (x, y, bias) = (random.units(n), random.units(n), random.units(n))
      var (plain, biased) = (x + stale(1), x + stale(1))
      kernels.add(&plain, y, nil, n)
      kernels.add(&biased, y, bias, n)
      let sums: [Float] = zip(x, y).map { $0 + $1 }
      let biasedSums: [Float] = (0..<n).map { (i: Int) -> Float in x[i] + (y[i] + bias[i]) }
      #expect(Array(plain[..<n]) == sums)
      #expect(Array(biased[..<n]) == biasedSums)
      #expect(plain[n].isNaN && biased[n].isNaN)
    }
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func `a vector with one value that is not finite is not finite`(value: Float) {
    var random = SeededRandom(seed: 10)
    for count in [1, 31, 64] {
      var x = random.units(count)
      #expect(dejavu_all_finite(x, count) == 1)
      x[count - 1] = value
      #expect(dejavu_all_finite(x, count) == 0)
    }
  }
}
