import DejaVu
import DejaVuCore
import DejaVuModels

/// How much of a token's set other tokens' sets hold, in one layer: |S ∩ S′| / |S|, S being the rows
/// of the greatest contributions at the study's density.
package struct SharingRow: Codable, Hashable, Sendable {
  package var axis: String
  package var layer: Int
  /// Share of the rows that a set may hold: what two sets share by chance.
  package var density: Figure
  /// With the next token's set.
  package var neighbour: Figure
  /// With the set of the same token's next occurrence elsewhere, and how many pairs there were.
  package var sameToken: Figure
  package var sameTokenPairs: Int
  /// With the set of a token half a text away.
  package var otherToken: Figure
  /// With the one set that carries most of the text that was learned from.
  package var staticSet: Figure
}

/// Collects the sets of every token of a text.
struct SharingCount {
  private let architecture: Architecture
  private let options: ExistenceOptions
  private let mass: RowMass
  private var tokens: [TokenID] = []
  /// Indices of the tokens that begin a window's sets.
  private var starts: Set<Int> = []
  /// By axis and layer, a set for each of `tokens`.
  private var sets: [RowAxis: [[RowSet]]]

  init(_ a: Architecture, options: ExistenceOptions, mass: RowMass) {
    (architecture, self.options, self.mass) = (a, options, mass)
    sets = Dictionary(
      uniqueKeysWithValues: RowAxis.allCases.map { ($0, Array(repeating: [], count: a.layers)) })
  }

  /// Rows of a set.
  private func count(_ axis: RowAxis) -> Int {
    max(1, SyntheticSparsity.count(density: options.density(axis), of: axis.rows(architecture)))
  }

  /// Takes in a window but for its first token, which has no context.
  mutating func add(_ window: [TokenID], _ orders: WindowOrders) {
    starts.insert(tokens.count)
    tokens += window.dropFirst()
    for axis in RowAxis.allCases {
      for layer in 0..<architecture.layers {
        let (kept, universe) = (count(axis), axis.rows(architecture))
        sets[axis]?[layer] += (1..<window.count).map { t in
          RowSet(orders[axis, layer, t].greatest(kept), of: universe)
        }
      }
    }
  }

  func rows() -> [SharingRow] {
    let pairs = sameTokenPairs
    return RowAxis.allCases.flatMap { axis in
      (0..<architecture.layers).map { row(axis, $0, pairs) }
    }
  }

  /// Occurrences of the same token that are not neighbours, each with its next.
  private var sameTokenPairs: [(Int, Int)] {
    var last: [TokenID: Int] = [:]
    var pairs: [(Int, Int)] = []
    for (index, token) in tokens.enumerated() {
      if let before = last[token], index - before > 1 { pairs.append((before, index)) }
      last[token] = index
    }
    return pairs
  }

  private func row(_ axis: RowAxis, _ layer: Int, _ pairs: [(Int, Int)]) -> SharingRow {
    let (sets, universe) = (sets[axis]?[layer] ?? [], axis.rows(architecture))
    let common = RowSet(mass.heaviest(count(axis), axis, layer: layer), of: universe)
    var (neighbour, same, other, fixed) = (Mean(), Mean(), Mean(), Mean())
    for (i, set) in sets.enumerated() {
      if i + 1 < sets.count, !starts.contains(i + 1) {
        neighbour.add(set.shared(with: sets[i + 1]))
      }
      let far = (i + sets.count / 2) % sets.count
      if tokens[far] != tokens[i] { other.add(set.shared(with: sets[far])) }
      fixed.add(set.shared(with: common))
    }
    for (a, b) in pairs { same.add(sets[a].shared(with: sets[b])) }
    return SharingRow(
      axis: axis.rawValue, layer: layer,
      density: Figure(Double(count(axis)) / Double(universe)), neighbour: Figure(neighbour.value),
      sameToken: Figure(same.value), sameTokenPairs: same.count, otherToken: Figure(other.value),
      staticSet: Figure(fixed.value))
  }
}
