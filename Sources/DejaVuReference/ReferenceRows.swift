package import DejaVuCore

/// One ascending list of rows per token.
package final class ReferenceRows {
  package let universe: Int
  package private(set) var lists: [[Int]]

  package init(universe: Int, tokens: Int) {
    self.universe = universe
    lists = Array(repeating: [], count: tokens)
  }

  package func assign<Axis>(_ set: ActiveSet<Axis>, to token: Int) {
    precondition(set.universe == universe, "\(set.universe) rows against \(universe)")
    lists[token] = set.indices.map { Int($0) }
  }
}

extension RowChoice<ReferenceRows> {
  /// The rows that `token` may use, of `universe` in all.
  func rows(of token: Int, universe: Int) -> [Int] {
    let rows: ReferenceRows
    switch self {
    case .all, .nonzero: return Array(0..<universe)
    case .listed(let listed): rows = listed
    case .ranked(_, _, let chosen): rows = chosen
    }
    precondition(rows.universe == universe, "\(rows.universe) rows against \(universe)")
    return rows.lists[token]
  }
}
