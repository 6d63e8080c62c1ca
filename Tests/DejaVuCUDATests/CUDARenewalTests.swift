import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

/// One launch that adds a stream up and prepares it leaves what two leave.
struct CUDARenewalTests {
  @Test(arguments: TinyModel.allCases)
  func `one launch gives the bits of two`(tiny: TinyModel) throws {
    let model = tiny.model(dtype: .float16)
    for plan in [RowPlan.all, .nonzero, .random(density: 0.4, seed: 3)] {
      let (joined, nodes) = try run(model, plan, joins: true)
      let (apart, more) = try run(model, plan, joins: false)
      try expectSameBits(joined, apart, "\(tiny), \(plan)")
      // Lists from the host are not recorded; a norm behind its block's sum is one for all.
      guard plan == .all, tiny != .optPostNorm else { continue }
      #expect(nodes < more, "\(tiny): \(nodes) launches and \(more)")
    }
  }

  @Test(arguments: ["int4-g64", "int8-g64"])
  func `one launch gives the bits of two over codes`(format: String) throws {
    let format = try #require(GroupwiseFormat(name: format))
    let model = GroupwiseModel.pair(of: TinyModel.opt.architecture, format: format).groupwise
    let joined = try run(model, .random(density: 0.5, seed: 5), joins: true).logits
    let apart = try run(model, .random(density: 0.5, seed: 5), joins: false).logits
    try expectSameBits(joined, apart, "\(format.name)")
  }

  @Test(arguments: 0..<CUDARidingTests.placements.count)
  func `choosers see the same stream`(place: Int) throws {
    let (heads, neurons) = CUDARidingTests.placements[place]
    let model = TinyModel.opt.model(dtype: .float16)
    let sparsity = CUDARidingTests.sparsity(
      of: model.architecture, heads: heads, neurons: neurons, rule: .threshold(0), isLowRank: true)
    let logits = try [true, false].map { joins in
      let backend = try TestCard.backend(model, Self.options(joins: joins))
      let session = try DecoderSession(
        decoder: Decoder(backend: backend), capacity: 16, mode: .sparse, sparsity: sparsity)
      return try (0..<12).map { Array(try session.decode(TokenID($0 * 17 + 3))) }
    }
    try expectSameBits(logits[0], logits[1], "\(heads), \(neurons)")
  }

  private static func options(joins: Bool) -> CUDAOptions {
    var options = CUDAOptions(batchCapacity: 64)
    if !joins { options.renewedColumns = 0 }
    return options
  }

  private func run(
    _ model: PackedModel, _ plan: RowPlan, joins: Bool
  ) throws -> (logits: [[Float]], nodes: Int) {
    let backend = try TestCard.backend(model, Self.options(joins: joins))
    let trial = Trial(Candidate(backend))
    let cache = try trial.makeCache()
    let logits = try (0..<6).map { try trial.step([TokenID($0 * 7 + 1)], cache: cache, plan: plan) }
    return (logits.flatMap(\.self), backend.graphNodes)
  }
}
