import CDejaVuKernels
import DejaVuCPU
import DejaVuCore
import DejaVuTestSupport
import Testing

struct StoredTypeTests {
  static let patterns = Array(UInt16.min...UInt16.max)
  static let halves: [DType] = [.float16, .bfloat16]

  static func value(_ bits: UInt16, _ dtype: DType) -> Float {
    dtype == .float16 ? HalfPrecision.float(half: bits) : HalfPrecision.float(brain: bits)
  }

  @Test(arguments: InstructionSet.available, halves)
  func `every half pattern widens exactly and narrows back`(
    set: InstructionSet, dtype: DType
  ) throws {
    let kernels = try set.rows(dtype)
    // A count that leaves a tail on every machine covers both ways through the loop.
    for shift in [0, 3] {
      let patterns = Array(Self.patterns[shift...])
      var wide = stale(patterns.count + 1)
      kernels.widen(&wide, patterns, patterns.count)
      #expect(wide.removeLast().isNaN)
      var narrow = [UInt16](repeating: 0xFFFF, count: patterns.count)
      kernels.narrow(&narrow, wide, patterns.count)
      for (index, bits) in patterns.enumerated() {
        let expected = Self.value(bits, dtype)
        if expected.isNaN {
          #expect(wide[index].isNaN && Self.value(narrow[index], dtype).isNaN)
        } else if wide[index].bitPattern != expected.bitPattern || narrow[index] != bits {
          Issue.record("pattern \(bits) became \(wide[index]) and \(narrow[index])")
        }
      }
    }
  }

  @Test(arguments: InstructionSet.available, halves)
  func `narrowing rounds to the nearest, and ties to even`(
    set: InstructionSet, dtype: DType
  ) throws {
    let kernels = try set.rows(dtype)
    let infinity: UInt16 = dtype == .float16 ? 0x7C00 : 0x7F80
    // What the value after the greatest finite one would be.
    let beyond = dtype == .float16 ? 0x1p16 : 0x1p128
    for low in 0..<infinity {
      let above = low + 1 == infinity ? beyond : Double(Self.value(low + 1, dtype))
      let middle = Float((Double(Self.value(low, dtype)) + above) / 2)
      let inputs = [middle, middle.nextDown, middle.nextUp]
      let expected = [low + (low & 1), low, low + 1]
      var found = [UInt16](repeating: 0, count: 6)
      kernels.narrow(&found, inputs + inputs.map { -$0 }, 6)
      if found != expected + expected.map({ $0 | 0x8000 }) {
        Issue.record("\(inputs) became \(found), not \(expected)")
      }
      let language = inputs.map {
        dtype == .float16 ? HalfPrecision.half($0) : HalfPrecision.brain($0)
      }
      if language != expected { Issue.record("HalfPrecision: \(inputs) became \(language)") }
    }
  }

  @Test(arguments: InstructionSet.available)
  func `float32 widens and narrows by copying`(set: InstructionSet) throws {
    let kernels = try set.rows(.float32)
    var random = SeededRandom(seed: 5)
    let values = random.units(37)
    var (wide, narrow) = (stale(38), stale(38))
    kernels.widen(&wide, values, 37)
    kernels.narrow(&narrow, values, 37)
    #expect(Array(wide[..<37]) == values && wide[37].isNaN)
    #expect(Array(narrow[..<37]) == values && narrow[37].isNaN)
  }
}
