package import DejaVuModels

/// How much of a token's set the next token's set holds again, by axis: |S ∩ S′| / |S|.
package struct SetOverlap {
  private var last: [ChooserSite: [Int32]] = [:]
  private var sums: [RowAxis: (shares: Double, count: Int)] = [:]

  package init() {}

  /// Notes what a chooser listed for the next token, in ascending order.
  package mutating func note(_ site: ChooserSite, _ list: [Int32]) {
    if let before = last[site], !before.isEmpty {
      let share = Double(Self.common(before, list)) / Double(before.count)
      let sum = sums[site.axis] ?? (0, 0)
      sums[site.axis] = (sum.shares + share, sum.count + 1)
    }
    last[site] = list
  }

  /// The mean over layers and pairs of neighbouring tokens; nil where nothing was chosen twice.
  package func mean(_ axis: RowAxis) -> Double? {
    sums[axis].map { $0.shares / Double($0.count) }
  }

  private static func common(_ a: [Int32], _ b: [Int32]) -> Int {
    var (i, j, count) = (0, 0, 0)
    while i < a.count, j < b.count {
      if a[i] == b[j] { count += 1 }
      let (left, right) = (a[i], b[j])
      if left <= right { i += 1 }
      if right <= left { j += 1 }
    }
    return count
  }
}
