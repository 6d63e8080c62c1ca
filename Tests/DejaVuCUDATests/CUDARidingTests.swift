import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

/// Choosers that look ahead ride with other launches, and nothing may show it.
struct CUDARidingTests {
  static let placements: [(heads: Placement, neurons: Placement)] = [
    (.layerAhead, .blockAhead), (.blockAhead, .layerAhead), (.same, .afterAttention),
    (.embedding, .embedding), (.same, .blockAhead),
  ]

  @Test(arguments: 0..<placements.count, [ChoiceRule.threshold(0), .highest(3)])
  func `choices that ride are those that are made at once`(place: Int, rule: ChoiceRule) throws {
    let (heads, neurons) = Self.placements[place]
    for isLowRank in [true, false] {
      let sparsity = Self.sparsity(
        of: model.architecture, heads: heads, neurons: neurons, rule: rule, isLowRank: isLowRank)
      let riding = try run(sparsity, observes: false)
      let made = try run(sparsity, observes: true)
      let agree = riding.lists == made.lists
      #expect(agree, "\(heads), \(neurons), two products: \(isLowRank)")
      #expect(riding.lists.contains { !$0.isEmpty }, "nothing was ever chosen")
      try expectSameBits(riding.logits, made.logits, "\(heads), \(neurons)")
    }
  }

  private let model = TinyModel.opt.model(dtype: .float16)

  /// A plan of random choosers, whose window keeps four inputs.
  static func sparsity(
    of architecture: Architecture, heads: Placement, neurons: Placement, rule: ChoiceRule,
    isLowRank: Bool
  ) -> Sparsity {
    var plan = SparsityPlan.uniform(
      "random", layers: architecture.layers, heads: .lowRank(heads, rule),
      neurons: .lowRank(neurons, rule))
    plan.window = 4
    var random = SeededRandom(seed: 3)
    var choosers: [ChooserSite: ChooserWeights] = [:]
    let columns = (architecture.hidden + 63) / 64 * 64
    for layer in 0..<architecture.layers {
      for (axis, placement) in [(RowAxis.heads, heads), (.neurons, neurons)] {
        let rows = axis.rows(architecture)
        let (inner, outer) = (
          GroupwiseMatrix.random(
            rows: isLowRank ? 64 : rows, columns: columns, bits: 8, scale: 0.01, &random),
          GroupwiseMatrix.random(rows: rows, columns: 64, bits: 8, scale: 0.01, &random)
        )
        choosers[ChooserSite(layer: layer, axis: axis, kind: .lowRank(placement))] =
          ChooserWeights(first: inner, second: isLowRank ? outer : nil, norm: .plain)
      }
    }
    return Sparsity(plan: plan, choosers: choosers)
  }

  /// Logits of twelve tokens, and what every block of theirs computed.
  ///
  /// Whoever observes choices makes each of them at once.
  private func run(
    _ sparsity: Sparsity, observes: Bool
  ) throws -> (logits: [[Float]], lists: [[Int32]]) {
    let backend = try TestCard.backend(model)
    let session = try DecoderSession(
      decoder: Decoder(backend: backend), capacity: 16, mode: .sparse, sparsity: sparsity)
    if observes { session.choiceObserver = { _, _ in } }
    var (logits, lists): ([[Float]], [[Int32]]) = ([], [])
    for token in 0..<12 {
      logits.append(Array(try session.decode(TokenID(token * 17 + 3))))
      for layer in 0..<model.architecture.layers {
        for axis in [RowAxis.heads, .neurons] {
          lists.append(session.rows(axis, layer: layer, token: 0) ?? [])
        }
      }
    }
    return (logits, lists)
  }
}
