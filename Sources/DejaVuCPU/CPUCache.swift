package import DejaVuCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Keys and values of one sequence, `[layer][group, position, width]`, so that a skipped group's
/// are never touched; and the inputs kept for groups that owe keys and values.
package final class CPUCache: SequenceCache {
  package let layout: CPUCacheLayout
  package let capacity: Int
  package private(set) var count = 0
  private let reservedKeys: Reserved
  private let reservedValues: Reserved
  var keys: UnsafeMutableRawPointer { reservedKeys.base }
  var values: UnsafeMutableRawPointer { reservedValues.base }
  /// `[layer][window, D]` inputs that attention read, where keys are deferred.
  let kept: CPUBuffer?
  /// `[layer][group]` first position whose key and value are not stored.
  let settled: UnsafeMutablePointer<Int32>

  package init(layout: CPUCacheLayout, capacity: Int) throws(BackendError) {
    self.layout = layout
    self.capacity = capacity
    let (bytes, overflow) = layout.bytesPerPosition.multipliedReportingOverflow(
      by: max(capacity, 1))
    guard !overflow, let keys = Reserved(bytes: bytes / 2) else {
      throw .outOfMemory(what: "the key cache", bytes: bytes)
    }
    guard let values = Reserved(bytes: bytes / 2) else {
      throw .outOfMemory(what: "the value cache", bytes: bytes)
    }
    (reservedKeys, reservedValues) = (keys, values)
    kept =
      layout.window > 0
      ? CPUBuffer(capacity: layout.layers * layout.window, width: layout.inputWidth) : nil
    let debts = layout.layers * layout.groups
    settled = .allocate(capacity: debts)
    settled.initialize(repeating: 0, count: debts)
  }

  deinit { settled.deallocate() }

  package func truncate(to count: Int) {
    precondition(count >= 0 && count <= self.count, "cannot cut \(self.count) back to \(count)")
    self.count = count
    for debt in 0..<layout.layers * layout.groups {
      settled[debt] = min(settled[debt], Int32(count))
    }
  }

  package func fork(capacity: Int) throws(BackendError) -> CPUCache {
    guard capacity >= count else {
      throw .contextExceeded(needed: count, limit: capacity)
    }
    let copy = try CPUCache(layout: layout, capacity: capacity)
    let width = layout.paddedHead * layout.dtype.size
    for plane in 0..<layout.layers * layout.groups {
      memcpy(
        copy.keys + plane * capacity * width, keys + plane * self.capacity * width, count * width)
      memcpy(
        copy.values + plane * capacity * width, values + plane * self.capacity * width,
        count * width)
      copy.settled[plane] = settled[plane]
    }
    if let kept, let target = copy.kept {
      target.base.update(from: kept.base, count: kept.capacity * kept.stride)
    }
    copy.count = count
    return copy
  }

  /// Called when a step has written `tokens` more positions in every layer.
  func grow(by tokens: Int) { count += tokens }

  func keys(layer: Int) -> UnsafeMutableRawPointer { keys + layer * planeBytes }
  func values(layer: Int) -> UnsafeMutableRawPointer { values + layer * planeBytes }
  func settled(layer: Int) -> UnsafeMutablePointer<Int32> { settled + layer * layout.groups }
  func kept(layer: Int) -> UnsafeMutablePointer<Float>? { kept?.row(layer * layout.window) }

  private var planeBytes: Int {
    layout.groups * capacity * layout.paddedHead * layout.dtype.size
  }

  /// Keys and values owed over all layers, groups and positions.
  package var debt: Int {
    (0..<layout.layers * layout.groups).reduce(0) { $0 + count - Int(settled[$1]) }
  }
}

/// Address space, on huge pages where it is large: nothing is taken until a position is written.
private final class Reserved {
  let base: UnsafeMutableRawPointer
  private let mapping: UnsafeMutableRawPointer
  private let mapped: Int

  /// Nil where there is none.
  init?(bytes: Int) {
    let isLarge = bytes >= HugePages.size
    let (size, overflow) = bytes.addingReportingOverflow(isLarge ? HugePages.size : 0)
    let flags = MAP_PRIVATE | MAP_ANONYMOUS
    guard bytes > 0, !overflow,
      let mapping = mmap(nil, size, PROT_READ | PROT_WRITE, flags, -1, 0), mapping != MAP_FAILED
    else { return nil }
    self.mapping = mapping
    mapped = size
    base = isLarge ? HugePages.aligned(mapping) : mapping
    if isLarge { HugePages.ask(for: base, byteCount: bytes) }
  }

  deinit { munmap(mapping, mapped) }
}

/// Sizes that all caches of one backend share.
package struct CPUCacheLayout: Hashable, Sendable {
  package var layers: Int
  package var groups: Int
  package var paddedHead: Int
  package var dtype: DType
  /// Positions whose attention inputs are kept for groups that were skipped; 0 computes keys and
  /// values of every group at once.
  package var window: Int
  package var inputWidth: Int

  /// Bytes of keys and values of one position in all layers.
  package var bytesPerPosition: Int { 2 * layers * groups * paddedHead * dtype.size }
  /// Bytes of kept inputs, whatever the length.
  package var keptBytes: Int { layers * window * ((inputWidth + 31) / 32 * 32) * 4 }
}
