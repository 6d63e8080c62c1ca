package import DejaVuCPU
package import DejaVuCore
package import DejaVuModels

/// How much of a text's contributions each row carries: what a choice for all tokens goes by.
///
/// Every token of a block counts the same: a row's mass is the mean of its share of its token's
/// contributions.
package struct RowMass: Sendable {
  /// By layer, `[rows]`.
  package private(set) var heads: [[Double]]
  package private(set) var neurons: [[Double]]
  package private(set) var tokens = 0

  /// Reads the windows dense.
  ///
  /// - Parameters:
  ///   - backend: of the engine.
  ///   - session: one of the engine's, with room for the longest window.
  ///   - windows: tokens of calibration text.
  ///   - progress: called with the tokens of every batch that is done.
  /// - Throws: ``BackendError``.
  package init(
    backend: CPUBackend, session: any Session, windows: [[TokenID]], progress: (Int) -> Void
  ) throws(BackendError) {
    let a = backend.architecture
    let collector = Collector(a)
    let observer = ContributionObserver(backend: backend, collector.add)
    try backend.watch(
      session, reading: windows, batch: backend.batchCapacity, with: observer, done: progress)
    (heads, neurons, tokens) = (collector.heads, collector.neurons, collector.tokens)
  }

  /// The `count` rows of a block that carry most, ascending.
  package func heaviest(_ count: Int, _ axis: RowAxis, layer: Int) -> [Int32] {
    let mass = axis == .heads ? heads[layer] : neurons[layer]
    let order = mass.indices.sorted { (mass[$1], $0) < (mass[$0], $1) }
    return order.prefix(count).map { Int32($0) }.sorted()
  }

  private final class Collector {
    var heads: [[Double]]
    var neurons: [[Double]]
    var tokens = 0

    init(_ a: Architecture) {
      heads = Array(repeating: Array(repeating: 0, count: a.kvHeads), count: a.layers)
      neurons = Array(repeating: Array(repeating: 0, count: a.neurons), count: a.layers)
    }

    func add(_ axis: RowAxis, _ layer: Int, _ values: CPUBuffer, _ count: Int) {
      switch axis {
      case .heads: Self.add(values, count, to: &heads[layer])
      case .neurons: Self.add(values, count, to: &neurons[layer])
      }
      if axis == .neurons && layer == 0 { tokens += count }
    }

    private static func add(_ values: CPUBuffer, _ tokens: Int, to mass: inout [Double]) {
      for t in 0..<tokens {
        let row = values.row(t)
        let total = mass.indices.reduce(Float(0)) { $0 + row[$1] }
        guard total > 0 else { continue }
        for i in mass.indices { mass[i] += Double(row[i] / total) }
      }
    }
  }
}
