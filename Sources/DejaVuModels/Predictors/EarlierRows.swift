import DejaVuCore

/// Rows of a predictor as files of version 1 hold them: `[codes][scales]`, without padding.
///
/// Groups of 64 columns lie one behind the other; byte j of a group's codes holds its columns j, j + n, …
/// from the low bits up, n being the group's bytes. Codes and scales are those of ``GroupwiseMatrix``.
struct EarlierRows {
  /// 2, 4 or 8.
  let bits: Int
  /// A multiple of 64.
  let columns: Int

  private var codeBytes: Int { columns * bits / 8 }
  var rowBytes: Int { codeBytes + columns / 64 * 2 }

  /// The same rows as they are read today, in memory of their own.
  func matrix(_ base: UnsafeRawPointer, rows: Int) -> GroupwiseMatrix {
    let format = GroupwiseMatrix.format(bits: bits)
    let memory = RowMemory(byteCount: rows * format.rowBytes(columns))
    for row in 0..<rows {
      format.pack(
        numbers(base + row * rowBytes), columns: columns,
        into: memory.base + row * format.rowBytes(columns))
    }
    return GroupwiseMatrix(
      base: memory.base, bits: bits, rows: rows, columns: columns, owner: memory)
  }

  private func numbers(_ row: UnsafeRawPointer) -> GroupwiseRow {
    let (bytes, mask) = (8 * bits, UInt8(1 << bits - 1))
    let codes = (0..<columns).map { column in
      let (group, lane) = (column / 64, column % 64)
      let byte = row.load(fromByteOffset: group * bytes + lane % bytes, as: UInt8.self)
      return byte >> UInt8(lane / bytes * bits) & mask
    }
    let scales = (0..<columns / 64).map { group in
      UInt16(
        littleEndian: row.loadUnaligned(
          fromByteOffset: codeBytes + 2 * group, as: UInt16.self))
    }
    return GroupwiseRow(codes: codes, scales: scales)
  }
}

/// Memory behind rows that were arranged anew.
private final class RowMemory: @unchecked Sendable {
  // Safe to share: written before anyone else has it.
  let base: UnsafeMutableRawPointer

  init(byteCount: Int) { base = .allocate(byteCount: max(byteCount, 1), alignment: 64) }

  deinit { base.deallocate() }
}
