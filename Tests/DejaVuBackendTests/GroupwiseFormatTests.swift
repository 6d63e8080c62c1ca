import DejaVuCore
import DejaVuTestSupport
import Testing

@Suite("groupwise rows")
struct GroupwiseFormatTests {
  static let all = GroupwiseFormat.allBits.flatMap { bits in
    GroupwiseFormat.allGroups.flatMap { group in
      [false, true].compactMap { GroupwiseFormat(bits: bits, group: group, hasZeros: $0) }
    }
  }

  /// Codes from one end to the other, scales of all magnitudes, zeros as GPTQ and AWQ have them.
  static func row(
    _ format: GroupwiseFormat, columns: Int, _ random: inout SeededRandom
  ) -> GroupwiseRow {
    let groups = (columns + format.group - 1) / format.group
    let codes = (0..<columns).map { _ in
      UInt8(random.next() % UInt64(format.greatestCode + 1))
    }
    let scales = (0..<groups).map { _ in HalfPrecision.half(random.unit()) }
    guard format.hasZeros else { return GroupwiseRow(codes: codes, scales: scales) }
    var zeros: [Float] = []
    for g in 0..<groups {
      let whole = g * 5 % (format.greatestCode + 2)
      zeros.append(Float(whole) + (g % 3 == 1 ? 0.5 : 0))
    }
    return GroupwiseRow(codes: codes, scales: scales, zeros: zeros)
  }

  @Test("what is packed comes back", arguments: all)
  func roundTrip(format: GroupwiseFormat) {
    var random = SeededRandom(seed: UInt64(format.bits * 1000 + format.group))
    for columns in [1, 31, 128, 200, 768] {
      let row = Self.row(format, columns: columns, &random)
      let memory = OwnedMemory(byteCount: format.rowBytes(columns))
      format.pack(row, columns: columns, into: memory.base)
      #expect(format.unpack(memory.base, columns: columns) == row, "\(columns) columns")
      for column in 0..<columns {
        let g = column / format.group
        let zero = row.zeros?[g] ?? format.middle
        let scale = HalfPrecision.float(half: row.scales[g])
        let value = format.value(column, of: memory.base, columns: columns)
        #expect(value == (Float(row.codes[column]) - zero) * scale)
      }
    }
  }

  @Test("a code lies where the layout says")
  func placesOfCodes() throws {
    let format = try #require(GroupwiseFormat(bits: 4, group: 64))
    // Column 70 is column 6 of the upper half: place 16 · 1 + 4 · 0 + 2, high nibble.
    var row = GroupwiseRow(codes: Array(repeating: 0, count: 128), scales: [0, 0])
    row.codes[70] = 9
    let memory = OwnedMemory(byteCount: format.rowBytes(128))
    format.pack(row, columns: 128, into: memory.base)
    let bytes = UnsafeRawBufferPointer(start: memory.base, count: format.rowBytes(128))
    #expect(bytes.enumerated().filter { $0.element != 0 }.map(\.offset) == [18])
    #expect(bytes[18] == 9 << 4)
  }

  @Test("every bit of the codes is used once", arguments: GroupwiseFormat.allBits)
  func planesAreFull(bits: Int) throws {
    let format = try #require(GroupwiseFormat(bits: bits, group: 128))
    let row = GroupwiseRow(
      codes: Array(repeating: UInt8(format.greatestCode), count: 256), scales: [0, 0])
    let memory = OwnedMemory(byteCount: format.rowBytes(256))
    format.pack(row, columns: 256, into: memory.base)
    let codes = UnsafeRawBufferPointer(start: memory.base, count: format.codeBytes(256))
    #expect(codes.count == 256 * bits / 8)
    #expect(codes.allSatisfy { $0 == 0xFF })
  }

  @Test("four bits at group 64 are 4.25, zeros an eighth more")
  func bytes() throws {
    let symmetric = try #require(GroupwiseFormat(bits: 4, group: 64))
    let own = try #require(GroupwiseFormat(bits: 4, group: 64, hasZeros: true))
    #expect(symmetric.rowBytes(2048) == 2048 * 17 / 32)
    #expect(own.rowBytes(2048) == 2048 * 17 / 32 + 32)
    #expect(symmetric.rowBytes(100) == symmetric.rowBytes(128))
    #expect(own.canStore(zero: 16) && own.canStore(zero: 7.5))
    #expect(!own.canStore(zero: 7.25) && !own.canStore(zero: -1) && !own.canStore(zero: .nan))
    #expect(GroupwiseFormat(bits: 5, group: 64) == nil)
    #expect(GroupwiseFormat(bits: 4, group: 48) == nil)
  }

  @Test("the reference backend computes with groupwise weights as with their values")
  func referenceAgrees() throws {
    for architecture in [TinyModel.opt, .llamaGrouped].map(\.architecture) {
      let format = try #require(GroupwiseFormat(bits: 4, group: 32, hasZeros: true))
      let (groupwise, plain) = GroupwiseModel.pair(of: architecture, format: format, seed: 5)
      #expect(groupwise.formats == [.groupwise(format)])
      #expect(groupwise.decodeBytes < plain.decodeBytes)
      let logits = try [groupwise, plain].map {
        try ReferenceAnswers(model: $0, cacheType: .float32).logits(sequence: 2, plan: .all)
      }
      #expect(logits[0] == logits[1])
    }
  }
}
