import DejaVuCore
import DejaVuModels

/// Which rows a sequence uses: a function of layer and position alone, so that every backend and
/// every way to cut the sequence into steps uses the same.
package enum RowPlan: Hashable, Sendable {
  case all
  case nonzero
  /// Every row, by its number.
  case full
  /// Each row with this probability, anew at every layer and position.
  case random(density: Double, seed: UInt64)

  func heads(layer: Int, position: Int, universe: Int) -> [Int32] {
    rows(stream: 2 * layer, position: position, universe: universe)
  }

  func neurons(layer: Int, position: Int, universe: Int) -> [Int32] {
    rows(stream: 2 * layer + 1, position: position, universe: universe)
  }

  private func rows(stream: Int, position: Int, universe: Int) -> [Int32] {
    guard case .random(let density, let seed) = self else { return Array(0..<Int32(universe)) }
    let mixed = seed &* 0x1_0001 &+ UInt64(stream) &* 0x1_0000_0000 &+ UInt64(position)
    var random = SeededRandom(seed: mixed)
    return random.rows(of: universe, density: density)
  }
}

/// Hands every token of a batch the rows of its sequence's plan.
final class PlannedRows<B: Backend>: Selector {
  private let candidate: Candidate<B>
  private let choice: RowPlan
  /// Plan and position of every token.
  private let tokens: [(plan: RowPlan, position: Int)]
  /// Sets stay alive for backends that read them after the call.
  private var handedOut: [B.Rows] = []

  init(candidate: Candidate<B>, tokens: [(plan: RowPlan, position: Int)]) {
    self.candidate = candidate
    self.tokens = tokens
    choice = tokens.first?.plan ?? .all
  }

  func heads(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows> {
    if choice == .all || choice == .nonzero { return .all }
    let universe = candidate.backend.architecture.kvHeads
    return listed(
      tokens.map {
        ActiveSet<Heads>(
          $0.plan.heads(layer: layer, position: $0.position, universe: universe), of: universe)
      },
      universe: universe)
  }

  func neurons(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows> {
    if choice == .all { return .all }
    if choice == .nonzero { return .nonzero }
    let universe = candidate.backend.architecture.neurons
    return listed(
      tokens.map {
        ActiveSet<Heads>(
          $0.plan.neurons(layer: layer, position: $0.position, universe: universe), of: universe)
      },
      universe: universe)
  }

  private func listed(_ sets: [ActiveSet<Heads>], universe: Int) -> RowChoice<B.Rows> {
    let rows = candidate.makeRows(universe, sets.map(\.indices))
    handedOut.append(rows)
    return .listed(rows)
  }
}
