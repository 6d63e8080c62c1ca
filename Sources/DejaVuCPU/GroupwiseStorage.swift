package import DejaVuCore

/// Memory of groupwise matrices, on huge pages where it is large and the system grants them.
package final class GroupwiseStorage: @unchecked Sendable {
  // Safe to share: written once, before anyone reads.
  package let base: UnsafeMutableRawPointer
  package let byteCount: Int

  /// Zeroed memory of `byteCount` bytes.
  package init(byteCount: Int) {
    self.byteCount = byteCount
    let isLarge = byteCount >= HugePages.size
    base = .allocate(byteCount: max(byteCount, 64), alignment: isLarge ? HugePages.size : 64)
    // Whole pages only: what shares the last one belongs to somebody else.
    if isLarge {
      HugePages.ask(for: base, byteCount: byteCount / HugePages.size * HugePages.size)
    }
    base.initializeMemory(as: UInt8.self, repeating: 0, count: max(byteCount, 64))
  }

  deinit { base.deallocate() }
}

/// Matrices of many choosers side by side.
///
/// One chooser is smaller than a huge page, or mapped from a file, and every token reads all of
/// them: side by side they share huge pages.
package struct ChooserArena {
  private let storage: GroupwiseStorage
  private var end = 0

  /// Room for the matrices of `choosers`.
  package init(for choosers: some Sequence<ChooserWeights>) {
    let matrices = choosers.lazy.flatMap { [$0.first, $0.second].compactMap { $0 } }
    storage = GroupwiseStorage(byteCount: matrices.reduce(0) { $0 + Self.aligned($1.byteCount) })
  }

  /// The same chooser with its matrices copied behind those that were copied before.
  package mutating func adopt(_ weights: ChooserWeights) -> ChooserWeights {
    var adopted = weights
    adopted.first = adopt(weights.first)
    adopted.second = weights.second.map { adopt($0) }
    return adopted
  }

  private mutating func adopt(_ matrix: GroupwiseMatrix) -> GroupwiseMatrix {
    let target = storage.base + end
    end += Self.aligned(matrix.byteCount)
    precondition(end <= storage.byteCount, "\(end) bytes of \(storage.byteCount)")
    target.copyMemory(from: matrix.base, byteCount: matrix.byteCount)
    return GroupwiseMatrix(
      base: target, bits: matrix.bits, rows: matrix.rows, columns: matrix.columns, owner: storage)
  }

  private static func aligned(_ bytes: Int) -> Int { (bytes + 63) / 64 * 64 }
}
