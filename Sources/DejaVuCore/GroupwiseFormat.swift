/// How a row of low-bit weights is stored: the bits of a code, and how many neighbours share a scale.
///
/// Choosers' rows (``GroupwiseMatrix``) are stored so as well.
///
/// A weight is (code − zero) · scale. The zero is (2^bits − 1) / 2 in symmetric formats, so that codes
/// lie evenly on both sides of it; else each group has its own, a multiple of one half.
///
/// A row is `[codes][scales][zeros]`, padded to a multiple of 4 bytes; all numbers are little-endian.
///
/// - Codes come in blocks of 128 columns, 16 · bits bytes each, in planes one behind the other:
///   one of 4, 2 or 8 bits, and behind it one of 2 (6-bit codes) or 1 (3-bit codes) with the low
///   bits. Column c of a block has the place p = 16 · (c % 16 / 4) + 4 · (c % 64 / 16) + c % 4 and
///   the half h = c / 64. In a plane of w bits it lies in byte p % 16w from bit
///   2w · (p / 16w) + w · h up; in a plane of 8 bits in byte 64 · h + p. So one shift and one mask
///   give the codes of 64 columns to a vector of 64 bytes, and four rows that are transposed byte by
///   byte come out with neighbouring columns in neighbouring lanes.
/// - Scales are IEEE half precision, one per group.
/// - Zeros are doubled and stored as integers: a byte each up to 6 bits, two bytes for 8 bits.
public struct GroupwiseFormat: Hashable, Sendable {
  /// 2, 3, 4, 6 or 8.
  public let bits: Int
  /// Columns that share a scale: 32, 64 or 128.
  public let group: Int
  /// Whether every group has a zero of its own.
  public let hasZeros: Bool

  /// Columns of a block; rows are padded to whole blocks.
  package static let block = 128

  /// The bits and groups there are kernels for.
  public static let allBits = [2, 3, 4, 6, 8]
  /// Sizes of groups.
  public static let allGroups = [32, 64, 128]

  /// A format, or nil where there are no such bits or groups.
  public init?(bits: Int, group: Int, hasZeros: Bool = false) {
    guard Self.allBits.contains(bits), Self.allGroups.contains(group) else { return nil }
    self.bits = bits
    self.group = group
    self.hasZeros = hasZeros
  }

  /// "int4-g64", and "int4-g64-zeros" where groups have zeros of their own.
  public var name: String { "int\(bits)-g\(group)" + (hasZeros ? "-zeros" : "") }

  /// The zero of every group of a symmetric format.
  public var middle: Float { Float(1 << bits - 1) / 2 }
  /// The greatest code.
  public var greatestCode: Int { 1 << bits - 1 }
  /// The greatest zero that can be stored.
  public var greatestZero: Float { bits == 8 ? 32_767.5 : 127.5 }

  /// Bytes of one stored zero.
  package var zeroSize: Int { hasZeros ? bits == 8 ? 2 : 1 : 0 }
  package func blocks(_ columns: Int) -> Int { (columns + Self.block - 1) / Self.block }
  package func paddedColumns(_ columns: Int) -> Int { blocks(columns) * Self.block }
  /// Groups of a row, those of its padding included.
  package func groups(_ columns: Int) -> Int { paddedColumns(columns) / group }
  package func codeBytes(_ columns: Int) -> Int { blocks(columns) * 16 * bits }
  /// Bytes of a row: codes, scales and zeros.
  package func rowBytes(_ columns: Int) -> Int {
    (codeBytes(columns) + groups(columns) * (2 + zeroSize) + 3) / 4 * 4
  }

  /// Planes of a block, the one with the high bits first: where each begins in the block, its bits,
  /// and the bits of the code below it.
  package var planes: [(offset: Int, bits: Int, below: Int)] {
    switch bits {
    case 3: [(0, 2, 1), (32, 1, 0)]
    case 6: [(0, 4, 2), (64, 2, 0)]
    default: [(0, bits, 0)]
    }
  }

  /// Where the part of a column's code lies that a plane holds: byte within a row, and shift.
  func place(_ column: Int, plane: (offset: Int, bits: Int, below: Int)) -> (byte: Int, shift: Int)
  {
    let (block, c) = (column / Self.block, column % Self.block)
    let place = 16 * (c % 16 / 4) + 4 * (c % 64 / 16) + c % 4
    let start = block * 16 * bits + plane.offset
    guard plane.bits < 8 else { return (start + c / 64 * 64 + place, 0) }
    let bytes = 16 * plane.bits
    return (start + place % bytes, 2 * plane.bits * (place / bytes) + plane.bits * (c / 64))
  }
}

/// One row of a groupwise matrix as numbers: a weight is (code − zero) · scale of its group.
package struct GroupwiseRow: Hashable, Sendable {
  /// One per column, without padding.
  package var codes: [UInt8]
  /// IEEE half patterns, one per group; the last group may reach into the padding.
  package var scales: [UInt16]
  /// One per group; nil in symmetric formats.
  package var zeros: [Float]?

  package init(codes: [UInt8], scales: [UInt16], zeros: [Float]? = nil) {
    self.codes = codes
    self.scales = scales
    self.zeros = zeros
  }
}

extension GroupwiseFormat {
  /// Whether a zero can be stored exactly.
  package func canStore(zero: Float) -> Bool {
    zero >= 0 && zero <= greatestZero && (2 * zero).rounded() == 2 * zero
  }

  /// Writes one row as the engine reads it; padding gets codes and scales of 0.
  ///
  /// - Parameters:
  ///   - row: codes, scales and zeros of ⌈columns / group⌉ groups.
  ///   - columns: D.
  ///   - out: ``rowBytes(_:)`` bytes, replaced.
  /// - Precondition: codes fit the format, and zeros are exact (``canStore(zero:)``).
  package func pack(_ row: GroupwiseRow, columns: Int, into out: UnsafeMutableRawPointer) {
    let groups = (columns + group - 1) / group
    precondition(
      row.codes.count == columns && row.scales.count == groups
        && (row.zeros?.count ?? 0) == (hasZeros ? groups : 0),
      "\(row.codes.count) codes, \(row.scales.count) scales for \(columns) columns of \(name)")
    out.initializeMemory(as: UInt8.self, repeating: 0, count: rowBytes(columns))
    let bytes = out.assumingMemoryBound(to: UInt8.self)
    for plane in planes {
      let mask = UInt8(truncatingIfNeeded: 1 << plane.bits - 1)
      for (column, code) in row.codes.enumerated() {
        precondition(Int(code) <= greatestCode, "code \(code) in \(name)")
        let (byte, shift) = place(column, plane: plane)
        bytes[byte] |= (code >> UInt8(plane.below) & mask) << UInt8(shift)
      }
    }
    let scales = out + codeBytes(columns)
    for (g, scale) in row.scales.enumerated() {
      scales.storeBytes(of: scale.littleEndian, toByteOffset: 2 * g, as: UInt16.self)
    }
    let zeros = scales + 2 * self.groups(columns)
    for (g, zero) in (row.zeros ?? []).enumerated() {
      precondition(canStore(zero: zero), "zero \(zero) in \(name)")
      if zeroSize == 2 {
        zeros.storeBytes(of: UInt16(2 * zero).littleEndian, toByteOffset: 2 * g, as: UInt16.self)
      } else {
        zeros.storeBytes(of: UInt8(2 * zero), toByteOffset: g, as: UInt8.self)
      }
    }
  }

  /// The numbers of one stored row.
  package func unpack(_ row: UnsafeRawPointer, columns: Int) -> GroupwiseRow {
    let groups = (columns + group - 1) / group
    return GroupwiseRow(
      codes: (0..<columns).map { code($0, of: row) },
      scales: (0..<groups).map { scale($0, of: row, columns: columns) },
      zeros: hasZeros ? (0..<groups).map { zero($0, of: row, columns: columns) } : nil)
  }

  /// (code − zero) · scale of one column.
  package func value(_ column: Int, of row: UnsafeRawPointer, columns: Int) -> Float {
    let g = column / group
    let scale = HalfPrecision.float(half: scale(g, of: row, columns: columns))
    return (Float(code(column, of: row)) - zero(g, of: row, columns: columns)) * scale
  }

  /// One column's code.
  package func code(_ column: Int, of row: UnsafeRawPointer) -> UInt8 {
    planes.reduce(0) { code, plane in
      let (byte, shift) = place(column, plane: plane)
      let part = row.load(fromByteOffset: byte, as: UInt8.self) >> UInt8(shift)
      return code | (part & UInt8(truncatingIfNeeded: 1 << plane.bits - 1)) << UInt8(plane.below)
    }
  }

  /// The half pattern of one group's scale; padding has scales too.
  package func scale(_ g: Int, of row: UnsafeRawPointer, columns: Int) -> UInt16 {
    UInt16(
      littleEndian: row.loadUnaligned(fromByteOffset: codeBytes(columns) + 2 * g, as: UInt16.self))
  }

  private func zero(_ g: Int, of row: UnsafeRawPointer, columns: Int) -> Float {
    guard hasZeros else { return middle }
    let start = codeBytes(columns) + 2 * groups(columns)
    if zeroSize == 1 { return Float(row.load(fromByteOffset: start + g, as: UInt8.self)) / 2 }
    let doubled = row.loadUnaligned(fromByteOffset: start + 2 * g, as: UInt16.self)
    return Float(UInt16(littleEndian: doubled)) / 2
  }
}

/// What a matrix of weights is stored in.
public enum WeightFormat: Hashable, Sendable {
  /// A floating-point number for every weight.
  case plain(DType)
  /// Codes of a few bits with a scale per group.
  case groupwise(GroupwiseFormat)
  /// No weights, but scales that rows of codes share.
  case scales(ScaleRowFormat)

  /// "float16", "int4-g64": what plans and reports call it.
  public var name: String {
    switch self {
    case .plain(let dtype): dtype.rawValue
    case .groupwise(let format): format.name
    case .scales(let format): format.name
    }
  }

  /// The element type; nil where weights are groupwise.
  public var dtype: DType? { if case .plain(let dtype) = self { dtype } else { nil } }
  /// Whether weights are codes.
  package var isGroupwise: Bool { groupwise != nil }
  /// The groups; nil where weights are floating-point numbers.
  public var groupwise: GroupwiseFormat? {
    if case .groupwise(let format) = self { format } else { nil }
  }

  /// Columns of a row with its padding.
  package func paddedColumns(_ columns: Int) -> Int {
    groupwise?.paddedColumns(columns) ?? Padding.width(columns)
  }

  /// Bytes that reading one row moves.
  package func rowBytes(_ columns: Int) -> Int {
    switch self {
    case .plain(let dtype): Padding.width(columns) * dtype.size
    case .groupwise(let format): format.rowBytes(columns)
    case .scales(let format): format.rowBytes(columns)
    }
  }
}
