import DejaVuCPU
import DejaVuCore
import DejaVuModels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// How large rows' outputs are: counts by the logarithm of their norm.
package struct NormHistogram: Codable, Hashable, Sendable {
  package var axis: String
  /// nil for all layers together.
  package var layer: Int?
  /// Rows of all tokens.
  package var rows: Int
  /// Share of them that add exactly nothing.
  package var zeroShare: Figure
  /// Share of the greatest tenth of the rows in the sum of all norms.
  package var topTenthMass: Figure
  /// Decimal logarithm of the lower edge of the first bin, and of the width of each.
  package var firstEdge: Figure
  package var binWidth: Figure
  /// Shares of all rows by bin; the last but open ends lie in the first and in the last bin.
  package var shares: [Figure]

  package init(
    axis: String, layer: Int?, rows: Int, zeroShare: Figure, topTenthMass: Figure,
    firstEdge: Figure, binWidth: Figure, shares: [Figure]
  ) {
    (self.axis, self.layer, self.rows) = (axis, layer, rows)
    (self.zeroShare, self.topTenthMass) = (zeroShare, topTenthMass)
    (self.firstEdge, self.binWidth, self.shares) = (firstEdge, binWidth, shares)
  }
}

/// Counts norms of one layer's rows.
struct NormCount: Sendable {
  static let (first, width, bins) = (-5.0, 0.25, 32)

  private var counts = [Int](repeating: 0, count: NormCount.bins)
  private var zeros = 0
  private var rows = 0
  /// Mean share of the greatest tenth of a token's rows in its sum.
  private var tenth = Mean()

  mutating func add(_ contributions: UnsafeBufferPointer<Float>) {
    rows += contributions.count
    for value in contributions {
      guard value > 0 else {
        zeros += 1
        continue
      }
      let bin = Int(((log10(Double(value)) - Self.first) / Self.width).rounded(.down))
      counts[min(max(bin, 0), Self.bins - 1)] += 1
    }
  }

  /// Notes how unequal one token's rows are.
  mutating func add(_ order: RowOrder, of universe: Int) {
    let count = min(max(1, (universe + 5) / 10), order.rows.count)
    if count > 0 { tenth.add(Double(order.covered[count - 1])) }
  }

  static func + (left: NormCount, right: NormCount) -> NormCount {
    var sum = left
    for i in sum.counts.indices { sum.counts[i] += right.counts[i] }
    sum.zeros += right.zeros
    sum.rows += right.rows
    sum.tenth.merge(right.tenth)
    return sum
  }

  func histogram(_ axis: RowAxis, layer: Int?) -> NormHistogram {
    let all = Double(max(rows, 1))
    return NormHistogram(
      axis: axis.rawValue, layer: layer, rows: rows, zeroShare: Figure(Double(zeros) / all),
      topTenthMass: Figure(tenth.value), firstEdge: Figure(Self.first),
      binWidth: Figure(Self.width), shares: counts.map { Figure(small: Double($0) / all) })
  }
}

extension Mean {
  /// Takes in what another mean was built of.
  mutating func merge(_ other: Mean) {
    self = Mean(sum: sum + other.sum, count: count + other.count)
  }
}
