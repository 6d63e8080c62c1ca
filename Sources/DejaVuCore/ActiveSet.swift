/// An axis along which a block may leave rows out.
public protocol SparseAxis: Sendable {
  /// The word for one row in messages.
  static var noun: String { get }
}

/// Key/value groups of attention heads; one group is one head where every head has its own keys.
public enum Heads: SparseAxis {
  /// A key/value group, whatever its number of query heads.
  public static let noun = "head group"
}

/// Neurons of the MLP.
public enum Neurons: SparseAxis {
  /// A neuron with all its rows.
  public static let noun = "neuron"
}

/// The rows of one block that a step computes; every other row counts as zero.
///
/// In the paper's notation an `ActiveSet<Heads>` is S_A and an `ActiveSet<Neurons>` is S_M.
///
/// - Invariant: `indices` is strictly ascending and within `0..<universe`.
public struct ActiveSet<Axis: SparseAxis>: Hashable, Sendable {
  /// The active rows.
  public let indices: [Int32]
  /// The number of rows there are, active or not.
  public let universe: Int

  /// - Precondition: `indices` is strictly ascending and within `0..<universe`.
  public init(_ indices: [Int32], of universe: Int) {
    precondition(
      zip(indices, indices.dropFirst()).allSatisfy { $0 < $1 },
      "indices of an active set of \(Axis.noun)s must ascend")
    precondition(
      (indices.first ?? 0) >= 0 && Int(indices.last ?? -1) < universe,
      "\(Axis.noun) \(indices.last ?? -1) is outside 0..<\(universe)")
    self.indices = indices
    self.universe = universe
  }

  /// Every row: the dense model.
  public static func full(_ universe: Int) -> ActiveSet {
    ActiveSet(Array(0..<Int32(universe)), of: universe)
  }

  /// The number of active rows.
  public var count: Int { indices.count }
  /// ρ, the share of rows that are active.
  public var density: Double { universe == 0 ? 0 : Double(count) / Double(universe) }
}
