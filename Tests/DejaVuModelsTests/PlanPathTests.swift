import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels
import Testing

/// A trained model under a plan gives the same losses however its text is read.
struct PlanPathTests {
  /// Now and then one row at the threshold changes sides between the paths.
  ///
  /// Both round the stream to 8 bits, and their streams differ in the last float places. A chooser behind the attention sees that
  /// such rows add next to nothing; one that looks ahead may be wrong about them.
  @Test func `decoding under a plan gives the prompt's losses but for rows at the threshold`()
    throws
  {
    let engine = try Golden.defaultModel.engine(
      CPUOptions(threads: 2, cacheType: .float32, multipliesPromptInBFloat16: false))
    let layers = engine.model.architecture.layers
    let maker = ShadowMaker(backend: try #require(engine.cpu))
    var choosers: [ChooserSite: ChooserWeights] = [:]
    for layer in 0..<layers {
      choosers[ChooserSite(layer: layer, axis: .neurons, kind: .shadow(bits: 4))] =
        maker.shadow(layer: layer, bits: 4)
    }
    let windows = try Self.windows()
    for placement in [Placement.afterAttention, .blockAhead, .layerAhead] {
      let plan = SparsityPlan.uniform(
        "some", layers: layers, neurons: .shadow(bits: 4, placement, .highest(300)))
      let sparsity = Sparsity(plan: plan, choosers: choosers)
      var differences: [Double] = []
      var cost = 0.0
      for window in windows {
        func losses(_ path: ScoringPath, _ mode: RunMode) throws -> [Double] {
          let session = try engine.makeSession(
            capacity: window.count, mode: mode, sparsity: sparsity)
          return try session.scores(of: window, path: path).map { -$0.logProbability }
        }
        let (prompt, decoded) = (try losses(.prompt, .sparse), try losses(.decode, .sparse))
        differences += zip(prompt, decoded).map { abs($0 - $1) }
        cost += zip(prompt, try losses(.prompt, .dense)).reduce(0) { $0 + abs($1.0 - $1.1) }
      }
      #expect(differences.count == windows.count * 11)
      let near = Double(differences.count { $0 <= 1e-3 }) / Double(differences.count)
      #expect(near >= (placement == .afterAttention ? 1 : 0.8), "\(placement)")
      #expect(cost > 0.1, "\(placement) left nothing out")
    }
  }

  /// Short texts, so that a row that changed sides is soon forgotten.
  private static func windows() throws -> [[TokenID]] {
    let ids = try Golden.defaultModel.cases().map(\.ids).max { $0.count < $1.count } ?? []
    return stride(from: 0, to: min(ids.count, 60) - 11, by: 12).map { Array(ids[$0..<$0 + 12]) }
  }
}
