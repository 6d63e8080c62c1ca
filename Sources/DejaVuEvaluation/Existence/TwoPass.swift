import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels

/// The two-pass check: what every row adds is recorded from a dense run, and the same tokens are
/// decoded once more with only the largest of each token.
///
/// The second pass takes the steps that sparse text is made by: rows of the recorded lists are
/// computed, others are not, and keys and values of skipped heads wait until their head is next
/// chosen. A step's lists come from the first pass, so they do not know that the stream has changed.
struct TwoPass {
  let engine: Engine
  let backend: CPUBackend
  let options: ExistenceOptions

  /// Steps that ``run(_:progress:)`` takes for so many tokens, beside the first pass.
  static func decodeSteps(tokens: Int, options: ExistenceOptions) -> Int {
    tokens * options.keptMasses.count * TwoPassRow.Kept.allCases.count
  }

  /// - Throws: ``BackendError``.
  func run(
    _ windows: [[TokenID]], progress: (_ decodeSteps: Int) -> Void
  ) throws(BackendError) -> TwoPassResult {
    var trials = TwoPassRow.Kept.allCases.flatMap { kept in
      options.keptMasses.map { Trial(kept: kept, mass: $0, layers: engine.model.layers.count) }
    }
    var dense: [ReferenceRun.Position] = []
    var choices: [Int] = []
    let pass = ContributionPass(engine: engine, backend: backend)
    let take = { (_: Int, logits: UnsafeBufferPointer<Float>) in
      dense.append(.init(logits))
      choices.append(argmax(logits))
    }
    try pass.run(windows, logits: take) { window, contributions throws(BackendError) in
      let orders = WindowOrders(contributions, engine.model.architecture, tokens: window.count)
      for index in trials.indices {
        try decode(window, orders, &trials[index], dense: dense, choices: choices)
        progress(window.count)
      }
      dense.removeAll()
      choices.removeAll()
    }
    let weights = LayerWeights(engine.model)
    return TwoPassResult(
      agreement: options.agreement, rows: trials.map { $0.row(weights) })
  }

  private func decode(
    _ window: [TokenID], _ orders: WindowOrders, _ trial: inout Trial,
    dense: [ReferenceRun.Position], choices: [Int]
  ) throws(BackendError) {
    let first = Sparsity(plan: trial.plan(orders, token: 0))
    let session = try engine.makeSession(
      capacity: window.count, mode: .sparse, sparsity: first)
    for (t, token) in window.enumerated() {
      if t > 0 { session.follow(Sparsity(plan: trial.plan(orders, token: t))) }
      let logits = try session.decode(token)
      trial.tokens += 1
      if argmax(logits) == choices[t] { trial.agreements += 1 }
      trial.divergence += dense[t].divergence(logits, normalizer: logSumExp(logits))
    }
  }
}

/// The order of rows for every token of a window.
struct WindowOrders {
  /// By axis, `[layer][token]`.
  private let orders: [RowAxis: [[RowOrder]]]

  init(_ contributions: KeptContributions, _ a: Architecture, tokens: Int) {
    var orders: [RowAxis: [[RowOrder]]] = [:]
    for axis in RowAxis.allCases {
      orders[axis] = (0..<a.layers).map { layer in
        (0..<tokens).map { RowOrder(contributions.contributions(axis, layer, $0)) }
      }
    }
    self.orders = orders
  }

  subscript(axis: RowAxis, layer: Int, token: Int) -> RowOrder {
    guard let order = orders[axis]?[layer][token] else {
      preconditionFailure("no order of \(axis.rawValue)")
    }
    return order
  }
}

/// One share of the contributions to keep, and what came of it so far.
private struct Trial {
  let kept: TwoPassRow.Kept
  let mass: Double
  var tokens = 0
  var agreements = 0
  var divergence = 0.0
  /// By layer, shares of rows computed.
  private var heads: [Mean]
  private var neurons: [Mean]

  init(kept: TwoPassRow.Kept, mass: Double, layers: Int) {
    (self.kept, self.mass) = (kept, mass)
    heads = Array(repeating: Mean(), count: layers)
    neurons = heads
  }

  /// The rows of one token, recorded by the first pass.
  mutating func plan(_ orders: WindowOrders, token: Int) -> SparsityPlan {
    // Rows that add nothing are left out where the MLP is not sparse either: that loses nothing.
    var plan = SparsityPlan.uniform("recorded", layers: heads.count)
    for layer in plan.layers.indices {
      if kept != .neurons {
        plan.layers[layer].heads = .fixed(rows(orders[.heads, layer, token]))
      }
      if kept != .heads {
        plan.layers[layer].neurons = .fixed(rows(orders[.neurons, layer, token]))
      }
    }
    note(plan)
    return plan
  }

  private func rows(_ order: RowOrder) -> [Int32] {
    order.greatest(order.count(covering: mass))
  }

  private mutating func note(_ plan: SparsityPlan) {
    for (layer, rows) in plan.layers.enumerated() {
      if case .fixed(let list) = rows.heads { heads[layer].add(Double(list.count)) }
      if case .fixed(let list) = rows.neurons { neurons[layer].add(Double(list.count)) }
    }
  }

  func row(_ weights: LayerWeights) -> TwoPassRow {
    let head = heads.map { $0.value.map { $0 / Double(weights.architecture.kvHeads) } ?? 1 }
    let neuron = neurons.map { $0.value.map { $0 / Double(weights.architecture.neurons) } ?? 1 }
    let count = Double(max(tokens, 1))
    return TwoPassRow(
      kept: kept, keptMass: Figure(mass), tokens: tokens,
      agreement: Figure(Double(agreements) / count), divergence: Figure(small: divergence / count),
      headDensity: Figure(head.reduce(0, +) / Double(head.count)),
      neuronDensity: Figure(neuron.reduce(0, +) / Double(neuron.count)),
      parameterShare: Figure(weights.share(heads: head, neurons: neuron)),
      headDensities: head.map { Figure($0) }, neuronDensities: neuron.map { Figure($0) })
  }
}

/// Weights of every layer's blocks, to weigh shares of rows by.
struct LayerWeights {
  let architecture: Architecture
  private let attention: [Double]
  private let mlp: [Double]

  init(_ model: PackedModel) {
    architecture = model.architecture
    attention = model.layers.map { layer in
      [layer.query, layer.key, layer.value, layer.output].reduce(0) {
        $0 + Double($1.rows) * Double($1.columns)
      }
    }
    mlp = model.layers.map { Double($0.bundle.matrix.rows) * Double($0.bundle.matrix.columns) }
  }

  /// Share of all block weights, by the share of rows of every layer.
  func share(heads: [Double], neurons: [Double]) -> Double {
    let kept =
      zip(heads, attention).reduce(0) { $0 + $1.0 * $1.1 }
      + zip(neurons, mlp).reduce(0) { $0 + $1.0 * $1.1 }
    return kept / (attention.reduce(0, +) + mlp.reduce(0, +))
  }
}
