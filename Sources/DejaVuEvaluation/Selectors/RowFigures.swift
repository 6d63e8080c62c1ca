/// How well the rows that were chosen match the oracle's: as many rows of the greatest
/// contributions, without those that contribute nothing.
package struct RowFigures: Hashable, Sendable {
  /// Tokens that were looked at.
  package private(set) var tokens = 0
  /// Rows there were, over all tokens.
  package private(set) var rows = 0
  package private(set) var chosen = 0
  /// Chosen rows that contribute something.
  package private(set) var active = 0
  /// The oracle's rows, and how many of them were chosen.
  package private(set) var best = 0
  package private(set) var hits = 0
  /// Σ over tokens of the chosen rows' share of all contributions.
  private var mass = 0.0

  package init() {}

  /// Share of the rows that were chosen.
  package var density: Double { Double(chosen) / Double(max(rows, 1)) }
  /// Share of the oracle's rows that were chosen.
  package var recall: Double { Double(hits) / Double(max(best, 1)) }
  /// Share of the chosen rows that are the oracle's.
  package var precision: Double { Double(hits) / Double(max(chosen, 1)) }
  /// Mean share of a token's contributions, by their norms, that chosen rows carry.
  package var coveredMass: Double { mass / Double(max(tokens, 1)) }

  /// Adds one token.
  ///
  /// - Parameters:
  ///   - contributions: `[rows]`, none of them negative.
  ///   - list: the chosen rows; nil means all.
  package mutating func add(_ contributions: UnsafeBufferPointer<Float>, chosen list: [Int32]?) {
    let positive = contributions.filter { $0 > 0 }.sorted(by: >)
    let count = list?.count ?? contributions.count
    let leftOut = count < positive.count ? positive[count] : 0
    var (covered, found, hit) = (0.0, 0, 0)
    func take(_ value: Float) {
      covered += Double(value)
      if value > 0 { found += 1 }
      if value > leftOut { hit += 1 }
    }
    if let list {
      for row in list { take(contributions[Int(row)]) }
    } else {
      for value in contributions { take(value) }
    }
    let total = positive.reduce(0.0) { $0 + Double($1) }
    tokens += 1
    rows += contributions.count
    chosen += count
    active += found
    best += min(count, positive.count)
    hits += hit
    // A block that contributes nothing has lost nothing.
    mass += total > 0 ? covered / total : 1
  }

  package static func += (left: inout RowFigures, right: RowFigures) {
    left.tokens += right.tokens
    left.rows += right.rows
    left.chosen += right.chosen
    left.active += right.active
    left.best += right.best
    left.hits += right.hits
    left.mass += right.mass
  }
}
