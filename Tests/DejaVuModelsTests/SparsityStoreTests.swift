import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Foundation
import Testing

/// Plans and predictors beside a model.
struct SparsityStoreTests {
  private let model: LoadedModel
  private let backend: CPUBackend
  private let folder: Folder

  init() throws {
    let golden = try #require(Golden.tiny.first { $0.name.contains("opt") })
    model = try ModelFolder.load(golden.modelFolder, team: try ThreadTeam(threads: 1))
    backend = try CPUBackend(model: model.model, options: CPUOptions(threads: 1))
    folder = try Folder()
  }

  private var architecture: Architecture { model.model.architecture }
  private var file: String { folder.path + "/predictors.safetensors" }

  private func plan(_ name: String, heads: RowPolicy = .all, neurons: RowPolicy) -> SparsityPlan {
    .uniform(name, layers: architecture.layers, heads: heads, neurons: neurons)
  }

  private func open() throws -> SparsityStore {
    try #require(try SparsityStore.open(model: model, folder: folder.path))
  }

  /// Stores a predictor of neurons and one of heads for every layer, at layer 0's places there.
  private func writePredictors(
    fingerprint: String? = nil
  ) throws -> [PredictorSite: ChooserWeights] {
    var random = SeededRandom(seed: 2)
    var predictors: [PredictorFile.Predictor] = []
    let columns = PredictorEntry.columns(architecture)
    for axis in RowAxis.allCases {
      for layer in 0..<architecture.layers {
        let site = PredictorSite(
          axis: axis, layer: layer, placement: axis.placement(.layerAhead, at: layer))
        let weights = ChooserWeights(
          first: .random(rows: 64, columns: columns, bits: 4, scale: 0.1, &random),
          second: .random(
            rows: axis.rows(architecture), columns: 64, bits: 4, scale: 0.1, &random),
          norm: .plain)
        let entry = PredictorEntry(
          site: site, rank: 64, bits: 4, hasBias: false, criterion: "positive", threshold: 0,
          figures: PredictorFigures())
        predictors.append(PredictorFile.Predictor(entry: entry, weights: weights))
      }
    }
    try PredictorFile.write(
      predictors, to: file, fingerprint: fingerprint ?? model.fingerprint)
    return Dictionary(uniqueKeysWithValues: predictors.map { ($0.entry.site, $0.weights) })
  }

  @Test func `a folder needs no store, but a file that was asked for must be there`() throws {
    #expect(try SparsityStore.open(model: model, folder: folder.path) == nil)
    #expect(throws: PredictorError.self) {
      try SparsityStore.open(model: model, folder: folder.path, file: folder.path + "/none")
    }
  }

  @Test func `a saved plan is opened and resolved with its shadows`() throws {
    let saved = plan("1%", neurons: .shadow(bits: 4, .afterAttention, .threshold(0.25)))
    try SparsityStore.save(saved, model: model, path: file)
    let store = try open()
    #expect(store.plans == [saved])
    #expect(store.plan(named: "2%") == nil)
    let sparsity = try store.resolve(try #require(store.plan(named: "1%")), on: backend)
    #expect(sparsity.choosers.count == architecture.layers)
    for (site, weights) in sparsity.choosers {
      #expect(site.axis == .neurons && site.kind == .shadow(bits: 4))
      #expect(weights.rows == architecture.neurons && weights.first.bits == 4)
    }
  }

  @Test func `a plan's predictors are those that were stored, layer 0's too`() throws {
    let stored = try writePredictors()
    let ahead = RowPolicy.lowRank(.layerAhead, .highest(2))
    try SparsityStore.save(plan("ahead", heads: ahead, neurons: ahead), model: model, path: file)
    let store = try open()
    let sparsity = try store.resolve(store.plans[0], on: backend)
    #expect(sparsity.choosers.count == stored.count)
    for (site, original) in stored {
      let axis = site.axis
      let key = ChooserSite(layer: site.layer, axis: axis, kind: .lowRank(.layerAhead))
      let found = try #require(sparsity.choosers[key])
      #expect(bytes(found.first) == bytes(original.first))
      let (second, expected) = (try #require(found.second), try #require(original.second))
      #expect(bytes(second) == bytes(expected))
    }
    // And it runs.
    let session = try DecoderSession(
      decoder: Decoder(backend: backend), capacity: 16, mode: .sparse, sparsity: sparsity)
    try session.run([1, 2, 3, 4], wanted: .last) { _, _ in }
    #expect(try session.decode(5).allSatisfy(\.isFinite))
    #expect(backend.tally.chooser > 0)
  }

  @Test func `a plan that names a missing predictor is refused`() throws {
    _ = try writePredictors()
    let store = try open()
    let lost = plan("lost", neurons: .lowRank(.afterAttention, .threshold(0)))
    #expect {
      try store.resolve(lost, on: backend)
    } throws: { error in
      "\(error)".contains("plan 'lost' names a predictor for neurons of layer 0 that is not there")
    }
  }

  @Test func `a plan for halves of codes is refused where weights have none`() throws {
    var saved = plan("1%", neurons: .nested(.threshold(0.25)))
    saved.weightFormat = "int4-g64"
    try SparsityStore.save(saved, model: model, path: file)
    let store = try open()
    #expect(
      throws: PredictorError.unsuited(
        path: file, plan: "1%", calibrated: "int4-g64", found: model.model.format.name)
    ) { try store.resolve(saved, on: backend) }
  }

  @Test func `predictors of another model are refused`() throws {
    _ = try writePredictors(fingerprint: "another")
    let expected = PredictorError.foreign(
      path: file, expected: model.fingerprint, found: "another")
    #expect(throws: expected) { try open() }
    #expect(throws: expected) {
      try SparsityStore.save(plan("p", neurons: .all), model: model, path: file)
    }
  }

  @Test func `replacing a plan keeps the others and the predictors`() throws {
    let stored = try writePredictors()
    let plans = ["a", "b", "c"].map { plan($0, neurons: .oracle(.threshold(1))) }
    for plan in plans { try SparsityStore.save(plan, model: model, path: file) }
    let other = plan("b", neurons: .random(density: 0.5, seed: 3))
    try SparsityStore.save(other, model: model, path: file)
    #expect(try open().plans == [plans[0], plans[2], other])
    let opened = try PredictorFile.open(
      path: file, fingerprint: model.fingerprint, architecture: architecture)
    #expect(Set(opened.predictors.keys) == Set(stored.keys))
    for (site, weights) in opened.predictors {
      let original = try #require(stored[site])
      #expect(bytes(weights.first) == bytes(original.first))
    }
  }

  @Test func `a plan that cannot be written leaves the file as it was`() throws {
    let kept = plan("kept", neurons: .oracle(.threshold(1)))
    try SparsityStore.save(kept, model: model, path: file)
    let open = plan("open", neurons: .oracle(.threshold(-.infinity)))
    #expect(throws: PredictorError.self) {
      try SparsityStore.save(open, model: model, path: file)
    }
    #expect(try self.open().plans == [kept])
  }

  private func bytes(_ matrix: GroupwiseMatrix) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: matrix.base, count: matrix.byteCount))
  }

  /// A throw-away folder.
  private final class Folder: Sendable {
    let path = FileManager.default.temporaryDirectory.path + "/dejavu-test-\(UUID().uuidString)"

    init() throws {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
  }
}
