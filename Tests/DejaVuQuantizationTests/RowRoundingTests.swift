import DejaVuCore
import DejaVuFormats
import Testing

struct GroupwiseTests {
  static let formats = GroupFormat.knownBits.flatMap { bits in
    [32, 64].flatMap { group in
      [true, false].map { GroupFormat(bits: bits, group: group, isSymmetric: $0) }
    }
  }

  static func values(_ count: Int, scale: Float = 1) -> [Float] {
    (0..<count).map { Float(($0 * 7919 + 13) % 257) / 128 * scale - 0.9 * scale }
  }

  static func rounded(
    _ values: [Float], _ format: GroupFormat, _ method: GroupFit.Method = .range
  ) -> QuantizedRows {
    let groups = format.groups(columns: values.count)
    var codes = [UInt8](repeating: 0, count: values.count)
    var scales = [UInt16](repeating: 0, count: groups)
    var zeros = [UInt16](repeating: 0, count: groups)
    codes.withUnsafeMutableBufferPointer { codes in
      scales.withUnsafeMutableBufferPointer { scales in
        zeros.withUnsafeMutableBufferPointer { zeros in
          guard let codes = codes.baseAddress, let scales = scales.baseAddress else { return }
          RowRounding(GroupFit(format: format, method: method)).round(
            values, importance: nil, columns: values.count,
            into: .init(codes: codes, scales: scales, zeros: zeros.baseAddress))
        }
      }
    }
    return QuantizedRows(
      format: format, rows: 1, columns: values.count, codes: codes, scales: scales,
      zeros: format.isSymmetric ? [] : zeros)
  }

  @Test(arguments: formats, [1, 31, 64, 100])
  func `a weight is at most half a step from its code`(format: GroupFormat, count: Int) {
    for scale in [Float(1), 1e-6, 30_000] {
      let values = Self.values(count, scale: scale)
      let rows = Self.rounded(values, format)
      for (i, value) in rows.row(0).enumerated() {
        let step = HalfPrecision.float(half: rows.scales[i / format.group])
        #expect(abs(value - values[i]) <= step * 0.5001)
      }
    }
  }

  @Test(arguments: formats)
  func `the search never leaves more error than the range`(format: GroupFormat) {
    let values = Self.values(96).map { $0 * $0 * $0 }
    func error(_ method: GroupFit.Method) -> Float {
      zip(Self.rounded(values, format, method).row(0), values).reduce(0) {
        $0 + ($1.0 - $1.1) * ($1.0 - $1.1)
      }
    }
    #expect(error(.search) <= error(.range) * 1.0001)
  }

  @Test(arguments: formats)
  func `groups of zeros stand for zeros`(format: GroupFormat) {
    for method in GroupFit.Method.allCases {
      let rows = Self.rounded([Float](repeating: 0, count: 70), format, method)
      #expect(rows.row(0).allSatisfy { $0 == 0 })
      #expect(rows.scales.allSatisfy { $0 == 0 })
    }
  }

  @Test(arguments: GroupFormat.knownBits, [1, 7, 8, 63, 64])
  func `packed codes come back`(bits: Int, count: Int) {
    let codes = (0..<count).map { UInt8(($0 * 37 + 5) % (1 << bits)) }
    var bytes = [UInt8](repeating: 0, count: (count * bits + 7) / 8)
    var back = [UInt8](repeating: 0xFF, count: count)
    CodeBits.pack(codes, count: count, bits: bits, into: &bytes)
    CodeBits.unpack(bytes, count: count, bits: bits, into: &back)
    #expect(back == codes)
  }
}
