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
    let path = Golden.root + "/Models/opt-16m"
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

  /// A seeded draw has no threshold at which a row could change sides.
  @Test func `random rows of a token in its place are the same in both paths, and so are losses`()
    throws
  {
    let engine = try Golden.defaultModel.engine(
      CPUOptions(threads: 2, cacheType: .float32, multipliesPromptInBFloat16: false))
    let layers = engine.model.architecture.layers
    let plan = SparsityPlan.uniform(
      "random", layers: layers, heads: .random(density: 0.7, seed: 4),
      neurons: .random(density: 0.5, seed: 4))
    let sparsity = Sparsity(plan: plan)
    for window in try Self.windows() {
      let (batched, single) = (
        try engine.makeSession(capacity: window.count, mode: .sparse, sparsity: sparsity),
        try engine.makeSession(capacity: window.count, mode: .sparse, sparsity: sparsity)
      )
      try batched.run(window[...], wanted: .none) { _, _ in }
      for (place, token) in window.enumerated() {
        _ = try single.decode(token)
        for axis in RowAxis.allCases {
          for layer in 0..<layers {
            let rows = batched.rows(axis, layer: layer, token: place)
            #expect(rows == single.rows(axis, layer: layer, token: 0))
            if place > 0 && axis == .neurons {
              #expect(rows != batched.rows(axis, layer: layer, token: place - 1))
            }
          }
        }
      }
      batched.truncate(to: 0)
      single.truncate(to: 0)
      let (prompt, decoded) = (
        try batched.scores(of: window, path: .prompt), try single.scores(of: window, path: .decode)
      )
      for (one, other) in zip(prompt, decoded) {
        #expect(abs(one.logProbability - other.logProbability) <= 1e-3)
      }
    }
  }

  /// Short texts, so that a row that changed sides is soon forgotten.
  private static func windows() throws -> [[TokenID]] {
    let ids = try Golden.defaultModel.cases().map(\.ids).max { $0.count < $1.count } ?? []
    return stride(from: 0, to: min(ids.count, 60) - 11, by: 12).map { Array(ids[$0..<$0 + 12]) }
  }
}
