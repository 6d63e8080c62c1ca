/// Pairs that wait to be merged, lowest rank first and then leftmost: a binary heap.
struct MergeHeap {
  /// A pair packed into one integer, so that integers' order is the merges' order: 24 bits of
  /// rank over 40 bits of place.
  struct Entry: Comparable {
    private let packed: UInt64

    init(rank: UInt32, place: Int) {
      packed = UInt64(rank) << 40 | UInt64(place)
    }

    var rank: UInt32 { UInt32(packed >> 40) }
    var place: Int { Int(packed & (1 << 40 - 1)) }

    static func < (left: Entry, right: Entry) -> Bool { left.packed < right.packed }
  }

  private var entries: [Entry] = []

  mutating func removeAll() { entries.removeAll(keepingCapacity: true) }

  /// - Complexity: O(log n)
  mutating func insert(_ entry: Entry) {
    var index = entries.count
    entries.append(entry)
    while index > 0, entry < entries[(index - 1) / 2] {
      entries[index] = entries[(index - 1) / 2]
      index = (index - 1) / 2
    }
    entries[index] = entry
  }

  /// - Complexity: O(log n)
  mutating func popFirst() -> Entry? {
    guard let first = entries.first, let last = entries.popLast() else { return nil }
    guard !entries.isEmpty else { return first }
    var index = 0
    while let child = smallerChild(of: index), entries[child] < last {
      entries[index] = entries[child]
      index = child
    }
    entries[index] = last
    return first
  }

  private func smallerChild(of index: Int) -> Int? {
    let left = 2 * index + 1
    guard left < entries.count else { return nil }
    return left + 1 < entries.count && entries[left + 1] < entries[left] ? left + 1 : left
  }
}
