import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels
import Testing

/// A trained model under a plan gives the same losses however its text is read.
struct PlanPathTests {
  /// What a calibrated plan leaves out adds so little that one row more or less is not seen.
  ///
  /// Both paths round the stream to 8 bits, and their streams differ in the last float places, so
  /// that now and then a row at the threshold changes sides.
  @Test func `decoding under the stored plan gives the prompt's losses`() throws {
    let path = try #require(DefaultModel.path)
    let model = try LanguageModel(
      path: path, backend: .cpu(CPUOptions(threads: 2, cacheType: .float32)))
    let sparsity = try #require(SparsityChoice.plan("1%", model: model, folder: path).sparsity)
    var differences: [Double] = []
    for window in try Self.windows() {
      func losses(_ path: ScoringPath) throws -> [Double] {
        let session = try model.engine.makeSession(
          capacity: window.count, mode: .sparse, sparsity: sparsity)
        return try session.scores(of: window, path: path).map { -$0.logProbability }
      }
      differences += zip(try losses(.prompt), try losses(.decode)).map { $0 - $1 }
    }
    let near = Double(differences.count { abs($0) <= 1e-3 }) / Double(differences.count)
    #expect(near >= 0.95)
    #expect(abs(differences.reduce(0, +)) / Double(differences.count) <= 1e-3)
  }

  /// Sets of one size leave rows at the threshold that matter, and one of them that changes sides
  /// is felt by the tokens after it.
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
      #expect(near >= 0.8, "\(placement)")
      #expect(cost > 0.1, "\(placement) left nothing out")
    }
  }

  /// Short texts, so that a row that changed sides is soon forgotten.
  private static func windows() throws -> [[TokenID]] {
    let ids = try Golden.defaultModel.cases().map(\.ids).max { $0.count < $1.count } ?? []
    return stride(from: 0, to: min(ids.count, 60) - 11, by: 12).map { Array(ids[$0..<$0 + 12]) }
  }
}
