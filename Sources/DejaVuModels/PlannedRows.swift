package import DejaVuCore

/// Which chooser serves a block.
package struct ChooserSite: Hashable, Sendable {
  package enum Kind: Hashable, Sendable {
    case shadow(bits: Int)
    case nested
    case lowRank(Placement)
  }

  package let layer: Int
  package let axis: RowAxis
  package let kind: Kind

  package init(layer: Int, axis: RowAxis, kind: Kind) {
    self.layer = layer
    self.axis = axis
    self.kind = kind
  }
}

/// A plan with the choosers that it names: everything that a sparse run needs.
package struct Sparsity: Sendable {
  package let plan: SparsityPlan
  package let choosers: [ChooserSite: ChooserWeights]

  package init(plan: SparsityPlan, choosers: [ChooserSite: ChooserWeights] = [:]) {
    self.plan = plan
    self.choosers = choosers
  }
}

/// Follows a plan: runs each block's chooser where the plan places it.
///
/// Choosers that look ahead run when their stream passes by, and their set waits for its block. A
/// choice that would look before the first layer is made from the layer's own input.
package final class PlannedRows<B: Backend>: Selector {
  private let backend: B
  private let sparsity: Sparsity
  /// One set of lists for each layer and axis, since sets may be chosen a layer early.
  private var heads: [B.Rows?]
  private var neurons: [B.Rows?]
  /// What the step reads: random rows are drawn for a token where it stands.
  private var batch: [(token: TokenID, position: Int)] = []
  /// Sees what each chooser listed for the first token of a step; nil unless sets are measured.
  package var observer: ((ChooserSite, [Int32]) -> Void)?

  package init(backend: B, sparsity: Sparsity) {
    self.backend = backend
    self.sparsity = sparsity
    let architecture = backend.architecture
    precondition(
      sparsity.plan.layers.count == architecture.layers,
      "a plan of \(sparsity.plan.layers.count) layers for \(architecture.layers)")
    heads = sparsity.plan.layers.map {
      $0.heads.listsRows ? backend.makeRows(universe: architecture.kvHeads) : nil
    }
    neurons = sparsity.plan.layers.map {
      $0.neurons.listsRows
        ? backend.makeRows(
          universe: architecture.neurons, isPrecise: $0.isPrecise) : nil
    }
  }

  /// Starts a step.
  ///
  /// - Parameters:
  ///   - tokens: those of the step, of one sequence.
  ///   - position: where the first of them stands.
  package func begin(_ tokens: some Collection<TokenID>, at position: Int) {
    batch = tokens.enumerated().map { ($0.element, position + $0.offset) }
  }

  package func heads(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows> {
    if layer == 0 {
      for each in sparsity.plan.layers.indices {
        choose(.heads, each, when: [.embedding], seeing: x)
        choose(.neurons, each, when: [.embedding], seeing: x)
      }
    }
    let first: Set<Placement> = layer == 0 ? [.same, .blockAhead, .layerAhead] : [.same]
    choose(.heads, layer, when: first, seeing: x)
    let ahead: Set<Placement> = layer == 0 ? [.blockAhead, .layerAhead] : [.blockAhead]
    choose(.neurons, layer, when: ahead, seeing: x)
    if layer + 1 < sparsity.plan.layers.count {
      choose(.heads, layer + 1, when: [.layerAhead], seeing: x)
      choose(.neurons, layer + 1, when: [.layerAhead], seeing: x)
    }
    return choice(sparsity.plan.layers[layer].heads, rows: heads[layer])
  }

  package func neurons(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows> {
    choose(.neurons, layer, when: [.afterAttention, .same], seeing: x)
    if layer + 1 < sparsity.plan.layers.count {
      choose(.heads, layer + 1, when: [.blockAhead], seeing: x)
    }
    return choice(sparsity.plan.layers[layer].neurons, rows: neurons[layer])
  }

  private func choice(_ policy: RowPolicy, rows: B.Rows?) -> RowChoice<B.Rows> {
    switch policy {
    case .all: return .all
    case .nonzero: return .nonzero
    case .oracle, .nearest, .shadow, .nested, .lowRank, .fixed, .random: break
    }
    guard let rows else { preconditionFailure("a policy that lists rows has room for them") }
    switch policy {
    case .oracle(let rule): return .ranked(.contribution, rule, chosen: rows)
    case .nearest(let rule): return .ranked(.product, rule, chosen: rows)
    default: return .listed(rows)
    }
  }

  /// What a block computed for a token of the last step; nil where its policy has no list.
  package func rows(_ axis: RowAxis, layer: Int, token: Int) -> [Int32]? {
    (axis == .heads ? heads[layer] : neurons[layer]).map { backend.list(of: token, in: $0) }
  }

  /// Makes the choice of one block if its plan places it here.
  private func choose(
    _ axis: RowAxis, _ layer: Int, when placements: Set<Placement>, seeing x: B.Buffer
  ) {
    let plan = sparsity.plan.layers[layer]
    let policy = axis == .heads ? plan.heads : plan.neurons
    guard let rows = axis == .heads ? heads[layer] : neurons[layer] else { return }
    if let (kind, placement) = policy.chooser, let rule = policy.rule {
      guard placements.contains(placement) else { return }
      run(.init(layer: layer, axis: axis, kind: kind), rule, x, rows)
      return
    }
    switch policy {
    case .fixed(let list) where placements.contains(.same):
      backend.assign(list, to: rows)
    case .random(let density, let seed) where placements.contains(.same):
      backend.assign(
        each: batch.map { randomRows(axis, layer, density, seed, $0.token, at: $0.position) },
        to: rows)
    default: return
    }
  }

  private func run(_ site: ChooserSite, _ rule: ChoiceRule, _ x: B.Buffer, _ rows: B.Rows) {
    guard let weights = sparsity.choosers[site] else {
      preconditionFailure("a resolved plan has every chooser it names")
    }
    backend.choose(weights, by: rule, layer: site.layer, reading: x, into: rows)
    if let observer { observer(site, backend.list(of: 0, in: rows)) }
  }

  /// The same set for a token in its place however its text is read.
  private func randomRows(
    _ axis: RowAxis, _ layer: Int, _ density: Double, _ seed: UInt64, _ token: TokenID,
    at position: Int
  ) -> [Int32] {
    let parts = [layer, axis == .heads ? 0 : 1, position, Int(token)]
    let stream = parts.reduce(seed) {
      SplitMix64.mixed($0 &+ (UInt64($1) &+ 1) &* SplitMix64.increment)
    }
    let rows = (0..<axis.rows(backend.architecture)).filter {
      Sampler.uniform(seed: stream, counter: UInt64($0)) < density
    }
    return rows.isEmpty ? [0] : rows.map { Int32($0) }
  }
}

extension LayerPlan {
  /// Whether so few of the chosen neurons are zero that their down rows are fetched with their up
  /// rows: at most one in ten is fetched for nothing.
  fileprivate var isPrecise: Bool { (measured["precision"] ?? 0) >= 0.9 }
}
