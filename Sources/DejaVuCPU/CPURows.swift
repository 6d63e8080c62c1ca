package import DejaVuCore

/// One ascending list of rows per token, refilled in place from step to step.
package final class CPURows {
  package let universe: Int
  /// Whether a neuron's down row is fetched with its up row.
  let isPrecise: Bool
  /// Who chose the lists, where its matrix is half of the neurons' own rows.
  var nested: ChooserWeights?
  private let storage: UnsafeMutablePointer<Int32>
  private let counts: UnsafeMutablePointer<Int>
  private let capacity: Int

  package init(universe: Int, tokens: Int, isPrecise: Bool = false) {
    self.universe = universe
    self.isPrecise = isPrecise
    capacity = tokens
    storage = .allocate(capacity: max(universe * tokens, 1))
    counts = .allocate(capacity: max(tokens, 1))
    counts.initialize(repeating: 0, count: max(tokens, 1))
  }

  deinit {
    storage.deallocate()
    counts.deallocate()
  }

  package func list(of token: Int) -> UnsafeMutablePointer<Int32> {
    precondition(token < capacity)
    return storage + token * universe
  }

  package func count(of token: Int) -> Int { counts[token] }

  /// `[tokens]`, for kernels that fill in lists.
  var countsBase: UnsafeMutablePointer<Int> { counts }

  package func setCount(_ count: Int, of token: Int) {
    precondition(token < capacity && count <= universe)
    counts[token] = count
  }

  func assign(_ indices: [Int32], to token: Int) {
    setCount(indices.count, of: token)
    list(of: token).update(from: indices, count: indices.count)
  }

  package func assign<Axis>(_ set: ActiveSet<Axis>, to token: Int) {
    precondition(set.universe == universe, "\(set.universe) rows against \(universe)")
    let list = list(of: token)
    for (at, row) in set.indices.enumerated() { list[at] = row }
    setCount(set.count, of: token)
  }
}
