import CDejaVuKernels
import DejaVuCPU
import DejaVuCore
import DejaVuReference
import DejaVuTestSupport
import Testing

struct GroupwiseKernelTests {
  @Test(arguments: InstructionSet.available, [2, 4, 8])
  func `scores are the products of the weights with the rounded vector`(
    instructionSet: InstructionSet, bits: Int
  ) throws {
    var random = SeededRandom(seed: UInt64(bits))
    for columns in [64, 128, 192, 768, 2048] {
      let matrix = GroupwiseMatrix.random(
        rows: 21, columns: columns, bits: bits, scale: 0.01, &random)
      let (bias, gain) = (random.units(21), random.units(21))
      let x = Rounded(random: &random, columns: columns)
      for (hasBias, hasGain) in [(false, false), (true, false), (false, true), (true, true)] {
        let found = try scores(
          instructionSet, matrix, x, bias: hasBias ? bias : nil, gain: hasGain ? gain : nil)
        for row in 0..<matrix.rows {
          let (sum, norm) = x.product(matrix, row)
          let (b, g) = (hasBias ? Double(bias[row]) : 0, hasGain ? Double(gain[row]) : 1)
          #expect(
            Tolerance.sum(of: columns / 64).allows(
              found[row], (sum + b) * g, norm: (norm + abs(b)) * abs(g)),
            "row \(row) of \(columns) columns: \(found[row]), not \((sum + b) * g)")
        }
      }
    }
  }

  /// Codes and vectors at their extremes, where narrow sums would saturate.
  @Test(arguments: InstructionSet.available, [2, 4, 8])
  func `integer sums are exact`(instructionSet: InstructionSet, bits: Int) throws {
    var random = SeededRandom(seed: 5)
    let matrix = GroupwiseMatrix.random(rows: 9, columns: 192, bits: bits, scale: 1, &random)
    let base = UnsafeMutableRawPointer(mutating: matrix.base)
    for row in 0..<matrix.rows {
      let start = base + row * matrix.rowBytes
      let codes = matrix.columns * bits / 8
      if row < 2 {
        let fill: UInt8 = row == 0 ? 0xFF : 0
        for at in 0..<codes { start.storeBytes(of: fill, toByteOffset: at, as: UInt8.self) }
      }
      for group in 0..<3 {
        let one = HalfPrecision.half(1)
        start.storeBytes(of: one, toByteOffset: codes + 2 * group, as: UInt16.self)
      }
    }
    for kind in 0..<4 {
      let q: [Int8] = (0..<192).map { lane in
        switch kind {
        case 0: 127
        case 1: -127
        case 2: lane % 2 == 0 ? 127 : -127
        default: Int8(truncatingIfNeeded: Int(random.next() % 255) - 127)
        }
      }
      let x = Rounded(q: q, step: 1)
      let found = try scores(instructionSet, matrix, x, bias: nil, gain: nil)
      for row in 0..<matrix.rows { #expect(Double(found[row]) == x.product(matrix, row).sum) }
    }
  }

  @Test(arguments: InstructionSet.available, [2, 4, 8])
  func `a vector is rounded to bytes, and arranged as codes are`(
    instructionSet: InstructionSet, bits: Int
  ) throws {
    let kernels = try instructionSet.kernels()
    var random = SeededRandom(seed: 9)
    for columns in [64, 128, 192, 320, 768] {
      var x = random.units(columns).map { min(max($0, -1.4), 1.4) }
      x[columns / 3] = -1.5
      let whole = x.map { Int8(($0 * (127 / 1.5)).rounded(.toNearestOrEven)) }
      let expected = Rounded(q: whole, step: 1)
      var q = [Int8](repeating: 99, count: columns + 1)
      var sums = stale(columns / 64)
      let step = kernels.groupwise_round(&q, &sums, x, columns, Int32(bits))
      #expect(abs(step - 1.5 / 127) < 1e-8)
      #expect(Array(q[..<columns]) == expected.arranged(bits: bits))
      #expect(q[columns] == 99)
      #expect(sums == expected.sums)
      let zero = [Float](repeating: 0, count: columns)
      #expect(kernels.groupwise_round(&q, &sums, zero, columns, Int32(bits)) == 0)
      #expect(q[..<columns].allSatisfy { $0 == 0 })
    }
  }

  @Test(arguments: [2, 4, 8])
  func `a rounded weight is within half a step, or the outermost`(bits: Int) {
    var random = SeededRandom(seed: 3)
    for columns in [64, 192] {
      let row = random.units(columns)
      let quantized = Quantized(row, bits: bits)
      var outermost = 0
      for (lane, value) in row.enumerated() {
        let step = quantized.steps[lane / 64]
        let middle = Float(1 << bits - 1) / 2
        let error = abs(quantized[lane] - value)
        if abs(value) <= (middle + 0.5) * step {
          #expect(error <= 0.501 * step, "lane \(lane): \(value) became \(quantized[lane])")
        } else {
          outermost += 1
          #expect(abs(abs(quantized[lane]) - middle * step) <= 1e-5 * step)
        }
        #expect(quantized[lane] * value >= 0)
      }
      #expect(outermost <= (bits == 2 ? columns / 8 : bits == 4 ? columns / 32 : 0))
    }
  }

  @Test(arguments: [2, 4, 8])
  func `a shrunk scale has no greater squared error than the whole one`(bits: Int) {
    var random = SeededRandom(seed: 8)
    for _ in 0..<20 {
      let row = random.units(64).map { $0 * $0 * $0 }
      let quantized = Quantized(row, bits: bits)
      let middle = Double(1 << bits - 1) / 2
      let greatest = row.map { Double(abs($0)) }.max() ?? 0
      let whole = Double(HalfPrecision.float(half: HalfPrecision.half(Float(greatest / middle))))
      var (found, expected) = (0.0, 0.0)
      for (lane, value) in row.enumerated() {
        let code = min(max((Double(value) / whole + middle + 0.5).rounded(.down), 0), 2 * middle)
        let plain = (code - middle) * whole
        expected += (plain - Double(value)) * (plain - Double(value))
        let error = Double(quantized[lane] - value)
        found += error * error
      }
      #expect(found <= expected * 1.0001)
    }
  }

  @Test(arguments: [2, 4, 8])
  func `the negative of a row has the negative weights`(bits: Int) {
    var random = SeededRandom(seed: 4)
    let row = random.units(128)
    let (plus, minus) = (Quantized(row, bits: bits), Quantized(row.map { -$0 }, bits: bits))
    for lane in row.indices { #expect(minus[lane] == -plus[lane]) }
  }

  @Test(arguments: [2, 4, 8])
  func `zero, tiny and huge rows stay finite and keep their signs`(bits: Int) {
    var random = SeededRandom(seed: 6)
    let magnitudes: [Float] = [
      0, .leastNormalMagnitude, 1e-9, 1e-7, 1e-5, 1e4, 1e7, 1e12, 1e20, 1e30,
    ]
    for magnitude in magnitudes {
      let row = random.units(64).map { $0 * magnitude }
      let quantized = Quantized(row, bits: bits)
      for (lane, value) in row.enumerated() {
        #expect(quantized[lane].isFinite)
        #expect(quantized[lane] * value >= 0, "\(value) became \(quantized[lane])")
        if magnitude < 1e-8 { #expect(quantized[lane] == 0) }
        if magnitude > 1e4 { #expect(quantized[lane] != 0) }
      }
    }
  }

  private func scores(
    _ instructionSet: InstructionSet, _ matrix: GroupwiseMatrix, _ x: Rounded, bias: [Float]?,
    gain: [Float]?
  ) throws -> [Float] {
    let kernels = try instructionSet.kernels()
    let (bias, gain) = (bias.map { OwnedVector($0) }, gain.map { OwnedVector($0) })
    var scores = stale(matrix.rows + 1)
    x.arranged(bits: matrix.bits).withUnsafeBufferPointer { q in
      x.sums.withUnsafeBufferPointer { sums in
        guard let q = q.baseAddress, let sums = sums.baseAddress else { return }
        var weights = dejavu_groupwise(
          rows: matrix.base, stride: matrix.rowBytes, d: matrix.columns, bits: Int32(matrix.bits),
          bias: bias?.vector.base, gain: gain?.vector.base)
        var vector = dejavu_quantized_vector(q: q, group_sums: sums, step: x.step)
        // In two shares, as threads take them.
        kernels.groupwise_scores(&scores, &weights, &vector, 5, matrix.rows - 5)
        let untouched = scores[..<5].count { $0.isNaN }
        #expect(untouched == 5)
        kernels.groupwise_scores(&scores, &weights, &vector, 0, 5)
      }
    }
    withExtendedLifetime((bias, gain)) {}
    #expect(scores[matrix.rows].isNaN)
    return scores
  }
}

/// A vector rounded to 8 bits.
private struct Rounded {
  let q: [Int8]
  let sums: [Float]
  let step: Float

  /// For every 64 bytes of codes, or what is left of a row, the lanes of each shift in turn.
  func arranged(bits: Int) -> [Int8] {
    let (planes, group) = (8 / bits, 64 * bits / 8)
    var arranged: [Int8] = []
    let bytes = q.count / planes
    for start in stride(from: 0, to: bytes, by: 64) {
      for plane in 0..<planes {
        for at in start..<min(start + 64, bytes) {
          arranged.append(q[at / group * 64 + plane * group + at % group])
        }
      }
    }
    return arranged
  }

  init(q: [Int8], step: Float) {
    self.q = q
    self.step = step
    sums = stride(from: 0, to: q.count, by: 64).map { start in
      Float(q[start..<start + 64].reduce(0) { $0 + Int($1) })
    }
  }

  init(random: inout SeededRandom, columns: Int) {
    self.init(q: (0..<columns).map { _ in Int8(Int(random.next() % 255) - 127) }, step: 0.0137)
  }

  /// Σ w · step · q, and the magnitude of the parts that kernels add.
  func product(_ matrix: GroupwiseMatrix, _ row: Int) -> (sum: Double, norm: Double) {
    var (sum, norm) = (0.0, 0.0)
    for lane in q.indices {
      let part = Double(matrix.element(row, lane)) * Double(q[lane]) * Double(step)
      sum += part
      norm += 2 * abs(part)
    }
    return (sum, norm)
  }
}

/// A row as `dejavu_quantize_row` leaves it.
private struct Quantized {
  private let matrix: GroupwiseMatrix

  init(_ row: [Float], bits: Int) {
    let bytes = GroupwiseMatrix.rowBytes(columns: row.count, bits: bits)
    let storage = GroupwiseStorage(byteCount: bytes)
    dejavu_quantize_row(storage.base, row, row.count, Int32(bits))
    matrix = GroupwiseMatrix(
      base: storage.base, bits: bits, rows: 1, columns: row.count, owner: storage)
  }

  subscript(lane: Int) -> Float { matrix.element(0, lane) }

  var steps: [Float] {
    (0..<matrix.columns / 64).map { group in
      HalfPrecision.float(
        half: matrix.base.load(
          fromByteOffset: matrix.columns * matrix.bits / 8 + 2 * group, as: UInt16.self))
    }
  }
}
