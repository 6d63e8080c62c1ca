/// How scales are stored that neighbouring rows of codes share, one for each column.
///
/// A weight is (code − zero[c]) · scale[c]. Checkpoints of GPTQ and AWQ have a scale for a group of
/// inputs and one output; where the engine's rows are the inputs (W_O and W2), that is a row of scales
/// for a group of rows. Such rows of codes have the layout of their ``GroupwiseFormat``, but what lies
/// behind the codes is zero and is never read.
///
/// A row of scales is `[scales][zeros]` over whole blocks of 128 columns: IEEE half precision, then
/// zeros doubled, a byte each, or two where codes have 8 bits; padding is zero.
public struct ScaleRowFormat: Hashable, Sendable {
  /// Neighbouring rows of codes that share a row of scales; the last group may be smaller.
  public let rows: Int
  /// Of a code: what the width of stored zeros depends on.
  public let bits: Int

  /// The most rows that can share scales: that many neurons no configuration may have.
  package static let mostRows = 1 << 20

  /// A format, or nil for a number of rows or bits that there is none for.
  public init?(rows: Int, bits: Int) {
    guard (1...Self.mostRows).contains(rows), GroupwiseFormat.allBits.contains(bits) else {
      return nil
    }
    self.rows = rows
    self.bits = bits
  }

  /// "int4-r128": codes of 4 bits, 128 rows of which share scales.
  public var name: String { "int\(bits)-r\(rows)" }

  /// The format of a ``name``; nil for any other text.
  public init?(name: String) {
    let parts = name.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].hasPrefix("int"), parts[1].hasPrefix("r"),
      let bits = Int(parts[0].dropFirst(3)), let rows = Int(parts[1].dropFirst()),
      let format = ScaleRowFormat(rows: rows, bits: bits), format.name == name
    else { return nil }
    self = format
  }

  private var zeroSize: Int { bits == 8 ? 2 : 1 }
  private func padded(_ columns: Int) -> Int {
    (columns + GroupwiseFormat.block - 1) / GroupwiseFormat.block * GroupwiseFormat.block
  }
  /// Bytes of a row of scales, a multiple of 64.
  package func rowBytes(_ columns: Int) -> Int { padded(columns) * (2 + zeroSize) }
  /// Rows of scales for so many rows of codes.
  package func count(_ rowsOfCodes: Int) -> Int { (rowsOfCodes + rows - 1) / rows }

  /// Writes the scale and the zero of one column.
  ///
  /// - Parameters:
  ///   - column: in `0..<columns`.
  ///   - columns: D.
  ///   - scale: an IEEE half pattern.
  ///   - zero: a multiple of one half, up to 127.5, or 32767.5 where codes have 8 bits.
  ///   - row: ``rowBytes(_:)`` bytes.
  package func store(
    _ column: Int, of columns: Int, scale: UInt16, zero: Float, in row: UnsafeMutableRawPointer
  ) {
    precondition(column >= 0 && column < columns, "column \(column) of \(columns)")
    row.storeBytes(of: scale.littleEndian, toByteOffset: 2 * column, as: UInt16.self)
    let (doubled, zeros) = (UInt16(2 * zero), 2 * padded(columns))
    if zeroSize == 2 {
      row.storeBytes(of: doubled.littleEndian, toByteOffset: zeros + 2 * column, as: UInt16.self)
    } else {
      row.storeBytes(of: UInt8(doubled), toByteOffset: zeros + column, as: UInt8.self)
    }
  }

  /// The scale and the zero of one column.
  package func load(
    _ column: Int, of columns: Int, from row: UnsafeRawPointer
  ) -> (scale: UInt16, zero: Float) {
    precondition(column >= 0 && column < columns, "column \(column) of \(columns)")
    let scale = UInt16(
      littleEndian: row.loadUnaligned(fromByteOffset: 2 * column, as: UInt16.self))
    let zeros = 2 * padded(columns)
    let doubled =
      zeroSize == 2
      ? UInt16(
        littleEndian: row.loadUnaligned(fromByteOffset: zeros + 2 * column, as: UInt16.self))
      : UInt16(row.load(fromByteOffset: zeros + column, as: UInt8.self))
    return (scale, Float(doubled) / 2)
  }
}

/// Rows of scales in memory: row g of them is shared by rows g · `format.rows` and on of a matrix.
///
/// Unsafe to keep beyond the ``PackedModel`` that owns the memory.
package struct ScaleRows: @unchecked Sendable {
  // Safe to share: the memory is never written after packing.
  package let base: UnsafeRawPointer
  package let format: ScaleRowFormat
  /// Rows of scales.
  package let count: Int
  package let columns: Int

  package init(base: UnsafeRawPointer, format: ScaleRowFormat, count: Int, columns: Int) {
    self.base = base
    self.format = format
    self.count = count
    self.columns = columns
  }

  /// Bytes of a row of scales, and from one to the next.
  package var rowBytes: Int { format.rowBytes(columns) }
  package var byteCount: Int { count * rowBytes }

  /// Rows of scales that rows `first ..< first + rows` of the matrix share.
  package func count(of rows: Int, from first: Int) -> Int {
    guard rows > 0 else { return 0 }
    return (first + rows - 1) / format.rows - first / format.rows + 1
  }

  /// (code − zero) · scale.
  func value(_ code: Float, row: Int, column: Int) -> Float {
    let (scale, zero) = format.load(column, of: columns, from: base + row / format.rows * rowBytes)
    return (code - zero) * HalfPrecision.float(half: scale)
  }
}
