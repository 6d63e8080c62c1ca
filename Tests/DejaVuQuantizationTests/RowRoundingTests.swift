import DejaVuCore
import DejaVuQuantization
import Testing

struct RowRoundingTests {
  static let formats = GroupwiseFormat.all.filter { $0.group != 128 }

  static func values(_ count: Int, scale: Float = 1) -> [Float] {
    (0..<count).map { Float(($0 * 7919 + 13) % 257) / 128 * scale - 0.9 * scale }
  }

  static func rounded(
    _ values: [Float], _ format: GroupwiseFormat, _ method: GroupFit.Method = .range,
    importance: [Float]? = nil
  ) -> GroupwiseRow {
    RowRounding(GroupFit(format: format, method: method))
      .round(values, importance: importance, columns: values.count)
  }

  static func weights(of row: GroupwiseRow, _ format: GroupwiseFormat) -> [Float] {
    [Float](unsafeUninitializedCapacity: row.codes.count) { buffer, count in
      if let base = buffer.baseAddress { format.dequantize(row, into: base) }
      count = row.codes.count
    }
  }

  @Test(arguments: formats, [1, 31, 64, 100])
  func `a weight is at most half a step from its code`(format: GroupwiseFormat, count: Int) {
    for scale in [Float(1), 1e-6, 30_000] {
      let values = Self.values(count, scale: scale)
      let row = Self.rounded(values, format)
      for (i, value) in Self.weights(of: row, format).enumerated() {
        let step = HalfPrecision.float(half: row.scales[i / format.group])
        #expect(abs(value - values[i]) <= step * 0.5001)
      }
    }
  }

  @Test(arguments: formats)
  func `the ends of a group have the ends of the codes`(format: GroupwiseFormat) {
    var values = [Float](repeating: 0, count: 50)
    (values[3], values[40]) = (-1, 1)
    let codes = Self.rounded(values, format).codes
    let greatest = UInt8(format.greatestCode)
    // Groups of 32 have one end each, groups of 64 both; a zero is whole, so an end may be one off.
    #expect(codes[3] <= (format.hasZeros ? 1 : 0))
    #expect(codes[40] >= greatest - (format.hasZeros ? 1 : 0))
  }

  @Test(arguments: formats)
  func `weights beyond a shrunk range saturate`(format: GroupwiseFormat) {
    let coder = GroupCoder(
      GroupScale(scale: 0.5, zero: format.middle.rounded(.down)), greatest: format.greatestCode)
    #expect(coder.code(1e30) == Float(format.greatestCode))
    #expect(coder.code(-1e30) == 0)
    #expect(coder.code(.infinity) == Float(format.greatestCode))
  }

  @Test(arguments: formats)
  func `the search never leaves more error than the range`(format: GroupwiseFormat) {
    let values = Self.values(96).map { $0 * $0 * $0 }
    let importance = (0..<96).map { Float($0 % 7) }
    for importance in [nil, importance] {
      func error(_ method: GroupFit.Method) -> Float {
        let row = Self.rounded(values, format, method, importance: importance)
        return zip(Self.weights(of: row, format), values).enumerated().reduce(0) { sum, pair in
          let difference = pair.element.0 - pair.element.1
          return sum + (importance?[pair.offset] ?? 1) * difference * difference
        }
      }
      #expect(error(.search) <= error(.range) * 1.0001)
    }
  }

  @Test(arguments: formats)
  func `groups of zeros stand for zeros`(format: GroupwiseFormat) {
    for method in GroupFit.Method.allCases {
      let row = Self.rounded([Float](repeating: 0, count: 70), format, method)
      #expect(Self.weights(of: row, format).allSatisfy { $0 == 0 })
      #expect(row.scales.allSatisfy { $0 == 0 })
    }
  }

  @Test(arguments: GroupwiseFormat.all)
  func `rounded rows are packed and come back`(format: GroupwiseFormat) {
    for columns in [1, 100, 200] {
      let row = Self.rounded(Self.values(columns), format, .search)
      var bytes = [UInt8](repeating: 0xFF, count: format.rowBytes(columns))
      bytes.withUnsafeMutableBytes { buffer in
        guard let base = buffer.baseAddress else { return }
        format.pack(row, columns: columns, into: base)
        #expect(format.unpack(base, columns: columns) == row)
      }
    }
  }
}
