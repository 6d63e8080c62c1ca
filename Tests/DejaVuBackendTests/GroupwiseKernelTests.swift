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
      let x = exact(&random, columns: columns)
      for (hasBias, hasGain) in [(false, false), (true, false), (false, true), (true, true)] {
        let found = try scores(
          instructionSet, matrix, x, bias: hasBias ? bias : nil, gain: hasGain ? gain : nil)
        for row in 0..<matrix.rows {
          let (sum, norm) = product(matrix, row, x)
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
      let codes = matrix.format.codeBytes(matrix.columns)
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
      let x: [Float] = (0..<192).map { lane in
        switch kind {
        case 0: 127
        case 1: -127
        case 2: lane % 2 == 0 ? 127 : -127
        default: lane % 64 == 0 ? 127 : Float(Int(random.next() % 255) - 127)
        }
      }
      let found = try scores(instructionSet, matrix, x, bias: nil, gain: nil)
      for row in 0..<matrix.rows { #expect(Double(found[row]) == product(matrix, row, x).sum) }
    }
  }

  /// With one step for all columns the small ones would all be 0.
  @Test(arguments: InstructionSet.available, [2, 4, 8])
  func `a great number costs its own 64 columns their precision, and no others`(
    instructionSet: InstructionSet, bits: Int
  ) throws {
    var random = SeededRandom(seed: 9)
    for (columns, great) in [(192, 5), (192, 70), (768, 300)] {
      let matrix = GroupwiseMatrix.random(
        rows: 21, columns: columns, bits: bits, scale: 0.01, &random)
      var x = random.units(columns)
      x[great] = 1e4
      let found = try scores(instructionSet, matrix, x, bias: nil, gain: nil)
      for row in 0..<matrix.rows {
        // The great number's neighbours are rounded to 0; what it adds itself is known exactly.
        let own = great / 64 * 64..<great / 64 * 64 + 64
        let (rest, norm) = product(matrix, row, x.enumerated().map { own ~= $0 ? 0 : $1 })
        let all = rest + Double(matrix.element(row, great)) * 1e4
        // Codes and zeros are added apart, each with weights of up to 0.0125 of a scale.
        let greatest = 2 * 1e4 * 0.0125 * Double(matrix.format.middle)
        let rounding = norm / 127 + greatest * Tolerance.sum(of: columns / 64).bound
        #expect(abs(Double(found[row]) - all) <= rounding, "row \(row) of \(columns)")
      }
    }
  }

  @Test(arguments: InstructionSet.available)
  func `a number that is none is in every score`(instructionSet: InstructionSet) throws {
    var random = SeededRandom(seed: 10)
    let matrix = GroupwiseMatrix.random(rows: 9, columns: 192, bits: 4, scale: 0.01, &random)
    for value in [Float.infinity, -.infinity, .nan] {
      var x = random.units(192)
      x[100] = value
      let found = try scores(instructionSet, matrix, x, bias: nil, gain: nil)
      let spoilt = found[..<9].count { $0.isNaN }
      #expect(spoilt == 9, "\(value) left \(found)")
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
    _ instructionSet: InstructionSet, _ matrix: GroupwiseMatrix, _ x: [Float], bias: [Float]?,
    gain: [Float]?
  ) throws -> [Float] {
    let kernels = try instructionSet.kernels()
    let (bias, gain) = (bias.map { OwnedVector($0) }, gain.map { OwnedVector($0) })
    let room = CPUBuffer(capacity: 1, width: dejavu_rounded_bytes(x.count) / 4)
    let code = Int32(1 << 16 | matrix.bits << 3 | 1 << 1) | Int32(DEJAVU_NARROW)
    kernels.coded_round(room.base, x, x.count, code)
    var scores = stale(matrix.rows + 1)
    var weights = dejavu_groupwise(
      rows: matrix.base, stride: matrix.rowBytes, d: matrix.columns, bits: Int32(matrix.bits),
      bias: bias?.vector.base, gain: gain?.vector.base)
    // In two shares, as threads take them.
    kernels.coded_scores(&scores, &weights, room.base, 5, matrix.rows - 5)
    let untouched = scores[..<5].count { $0.isNaN }
    #expect(untouched == 5)
    kernels.coded_scores(&scores, &weights, room.base, 0, 5)
    withExtendedLifetime((bias, gain)) {}
    #expect(scores[matrix.rows].isNaN)
    return scores
  }
}

/// Numbers that 8 bits hold exactly: of every 64 the greatest is 127 of a step, which is a power of 2.
private func exact(_ random: inout SeededRandom, columns: Int) -> [Float] {
  (0..<columns).map { column in
    let step = Float(sign: .plus, exponent: -7 - column / 64 % 3, significand: 1)
    let q = column % 64 == 17 ? -127 : Int(random.next() % 255) - 127
    return step * Float(q)
  }
}

/// Σ w · x, and the magnitude of the parts that kernels add.
private func product(
  _ matrix: GroupwiseMatrix, _ row: Int, _ x: [Float]
) -> (sum: Double, norm: Double) {
  var (sum, norm) = (0.0, 0.0)
  for (column, value) in x.enumerated() {
    let part = Double(matrix.element(row, column)) * Double(value)
    sum += part
    norm += 2 * abs(part)
  }
  return (sum, norm)
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
        half: matrix.format.scale(group, of: matrix.base, columns: matrix.columns))
    }
  }
}
