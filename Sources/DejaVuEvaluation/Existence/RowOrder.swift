import DejaVuModels

/// One token's rows of one block by what they add, greatest first; rows that add nothing are left out.
struct RowOrder: Sendable {
  let rows: [Int32]
  /// Σ of the contributions up to and with each row, over the sum of all.
  let covered: [Float]

  /// - Parameter contributions: `[rows]`, none of them negative.
  init(_ contributions: UnsafeBufferPointer<Float>) {
    let active = contributions.indices.filter { contributions[$0] > 0 }
    let order = active.sorted { (contributions[$1], $0) < (contributions[$0], $1) }
    let total = order.reduce(0.0) { $0 + Double(contributions[$1]) }
    var sum = 0.0
    covered = order.map {
      sum += Double(contributions[$0])
      return Float(sum / total)
    }
    rows = order.map { Int32($0) }
  }

  /// How many rows it takes to cover a share of the sum; at least one where there is any.
  func count(covering mass: Double) -> Int {
    var (low, high) = (0, rows.count)
    while low < high {
      let middle = (low + high) / 2
      if Double(covered[middle]) >= mass { high = middle } else { low = middle + 1 }
    }
    return min(low + 1, rows.count)
  }

  /// The `count` greatest rows, ascending; fewer where fewer add anything.
  func greatest(_ count: Int) -> [Int32] { rows.prefix(count).sorted() }
}

/// A set of rows of one block.
struct RowSet: Hashable, Sendable {
  private var words: [UInt64]
  private(set) var count = 0

  init(_ rows: some Sequence<Int32>, of universe: Int) {
    words = Array(repeating: 0, count: (universe + 63) / 64)
    for row in rows {
      words[Int(row) / 64] |= 1 << UInt64(row % 64)
      count += 1
    }
  }

  /// |self ∩ other| / |self|; nil of nothing.
  func shared(with other: RowSet) -> Double? {
    guard count > 0 else { return nil }
    var common = 0
    for (a, b) in zip(words, other.words) { common += (a & b).nonzeroBitCount }
    return Double(common) / Double(count)
  }
}

/// A mean that is built up.
struct Mean: Hashable, Sendable {
  private(set) var sum = 0.0
  private(set) var count = 0

  init() {}

  init(sum: Double, count: Int) { (self.sum, self.count) = (sum, count) }

  mutating func add(_ value: Double) {
    sum += value
    count += 1
  }

  mutating func add(_ value: Double?) { if let value { add(value) } }

  /// nil of nothing.
  var value: Double? { count > 0 ? sum / Double(count) : nil }
}
