#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Memory in pages of 2 MiB: rows here and there cost fewer walks of the page table, and streams
/// are not stopped every 4 KiB.
package enum HugePages {
  package static let size = 2 << 20

  /// The first address at or behind `address` where a huge page may begin.
  package static func aligned(_ address: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    let rest = UInt(bitPattern: address) % UInt(size)
    return rest == 0 ? address : address + (size - Int(rest))
  }

  /// Asks the system for huge pages; it may refuse, which changes nothing but speed.
  package static func ask(for base: UnsafeMutableRawPointer, byteCount: Int) {
    #if os(Linux)
      madvise(base, byteCount, 14)  // MADV_HUGEPAGE
    #endif
  }
}
