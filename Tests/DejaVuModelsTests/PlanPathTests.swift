import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels
import Testing

/// A trained model under a plan gives the same losses however its text is read.
@Suite(.serialized)
struct PlanPathTests {
  @Test(arguments: [Placement.afterAttention, .blockAhead, .layerAhead])
  func `decoding under a plan gives the prompt's losses under it`(placement: Placement) throws {
    let golden = Golden.defaultModel
    let engine = try golden.engine(
      CPUOptions(threads: 2, cacheType: .float32, multipliesPromptInBFloat16: false))
    let backend = try #require(engine.cpu)
    let layers = engine.model.architecture.layers
    let plan = SparsityPlan.uniform(
      "half", layers: layers, neurons: .shadow(bits: 4, placement, .highest(400)))
    var choosers: [ChooserSite: ChooserWeights] = [:]
    for layer in 0..<layers {
      choosers[ChooserSite(layer: layer, axis: .neurons, kind: .shadow(bits: 4))] =
        ShadowMaker(backend: backend).shadow(layer: layer, bits: 4)
    }
    let sparsity = Sparsity(plan: plan, choosers: choosers)
    let ids = Array(try #require(try golden.cases().map(\.ids).max { $0.count < $1.count })
      .prefix(120))
    func losses(_ path: ScoringPath, _ mode: RunMode) throws -> [Double] {
      let session = try engine.makeSession(capacity: ids.count, mode: mode, sparsity: sparsity)
      return try session.scores(of: ids, path: path).map { -$0.logProbability }
    }
    let (prompt, decoded) = (try losses(.prompt, .sparse), try losses(.decode, .sparse))
    #expect(prompt.count == ids.count - 1)
    for (position, (left, right)) in zip(prompt, decoded).enumerated() {
      #expect(abs(left - right) <= 1e-3, "token \(position + 1): \(left) and \(right)")
    }
    let dense = try losses(.prompt, .dense)
    #expect(zip(prompt, dense).contains { abs($0 - $1) > 1e-3 }, "the plan left nothing out")
  }
}
