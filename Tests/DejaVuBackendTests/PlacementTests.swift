import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

/// Which stream a chooser reads, and that its set reaches its own block.
struct PlacementTests {
  @Test(arguments: Placement.allCases, [BlockOrder.preNorm, .postNorm, .parallel])
  func `a chooser of neurons reads the stream that its placement names`(
    placement: Placement, order: BlockOrder
  ) throws {
    let backend = try run(heads: .all, neurons: .lowRank(placement, .threshold(0)), order: order)
    for layer in 0..<3 {
      let behind = order == .parallel ? "x\(layer)" : "y\(layer)"
      let expected =
        switch placement {
        case .same, .afterAttention: behind
        case .blockAhead: "x\(layer)"
        case .layerAhead: "x\(max(layer - 1, 0))"
        case .embedding: "x0"
        }
      #expect(backend.read["neurons of \(layer)"] == [expected])
      #expect(backend.used["neurons of \(layer)"] == "neurons of \(layer)")
    }
    #expect(backend.read.count == 3)
  }

  @Test(
    arguments: [Placement.same, .blockAhead, .layerAhead, .embedding],
    [BlockOrder.preNorm, .postNorm, .parallel])
  func `a chooser of heads reads the stream that its placement names`(
    placement: Placement, order: BlockOrder
  ) throws {
    let backend = try run(heads: .lowRank(placement, .threshold(0)), neurons: .all, order: order)
    for layer in 0..<3 {
      let before = order == .parallel ? "x" : "y"
      let expected =
        switch placement {
        case .same, .afterAttention: "x\(layer)"
        case .blockAhead: layer == 0 ? "x0" : "\(before)\(layer - 1)"
        case .layerAhead: "x\(max(layer - 1, 0))"
        case .embedding: "x0"
        }
      #expect(backend.read["heads of \(layer)"] == [expected])
      #expect(backend.used["heads of \(layer)"] == "heads of \(layer)")
    }
    #expect(backend.read.count == 3)
  }

  private func run(
    heads: RowPolicy, neurons: RowPolicy, order: BlockOrder
  ) throws -> RecordingBackend {
    var architecture = TinyModel.opt.architecture
    architecture.blockOrder = order
    let backend = RecordingBackend(architecture)
    let plan = SparsityPlan.uniform("recorded", layers: 3, heads: heads, neurons: neurons)
    var random = SeededRandom(seed: 1)
    var choosers: [ChooserSite: ChooserWeights] = [:]
    for layer in 0..<3 {
      for (axis, policy) in [(RowAxis.heads, heads), (.neurons, neurons)] {
        guard case .lowRank(let placement, _) = policy else { continue }
        let rows = axis == .heads ? architecture.kvHeads : architecture.neurons
        choosers[ChooserSite(layer: layer, axis: axis, kind: .lowRank(placement))] =
          ChooserWeights(
            first: .random(rows: rows, columns: 64, bits: 2, scale: 1, &random), norm: .plain)
      }
    }
    let session = try DecoderSession(
      decoder: Decoder(backend: backend), capacity: 4, mode: .sparse,
      sparsity: Sparsity(plan: plan, choosers: choosers))
    _ = try session.decode(1)
    return backend
  }
}

/// Computes nothing and writes down who read what.
private final class RecordingBackend: Backend {
  /// A stream named x_l at a layer's input and y_l behind its attention.
  final class Label { var name = "" }
  final class Cache: SequenceCache {
    let (count, capacity) = (0, 4)
    func truncate(to count: Int) {}
    func fork(capacity: Int) -> Cache { Cache() }
  }

  let architecture: Architecture
  let batchCapacity = 4
  var tally = Tally()
  /// Streams that each chooser read, and whose rows each block was given.
  private(set) var read: [String: [String]] = [:]
  private(set) var used: [String: String] = [:]
  private let scores: UnsafeMutableBufferPointer<Float>

  init(_ architecture: Architecture) {
    self.architecture = architecture
    scores = .allocate(capacity: architecture.vocabulary)
    scores.initialize(repeating: 0)
  }

  deinit { scores.deallocate() }

  func makeBuffer(width: Int) -> Label { Label() }
  func makeCache(capacity: Int, window: Int) -> Cache { Cache() }
  func makeRows(universe: Int, isPrecise: Bool) -> Label { Label() }
  func choose(
    _ weights: ChooserWeights, by rule: ChoiceRule, layer: Int, reading x: Label, into rows: Label
  ) {
    let axis = weights.rows == architecture.kvHeads ? "heads" : "neurons"
    rows.name = "\(axis) of \(layer)"
    read[rows.name, default: []].append(x.name)
  }
  func assign(_ indices: [Int32], to rows: Label) {}
  func assign(each lists: [[Int32]], to rows: Label) {}
  func list(of token: Int, in rows: Label) -> [Int32] { [] }
  func begin(_ batch: StepBatch<Cache>) {}
  func embed(into x: Label) { x.name = "x0" }
  func normalize(_ x: Label, by site: NormSite, into out: Label) { out.name = x.name }
  func attend(layer: Int, heads: RowChoice<Label>, reading x: Label, into out: Label) {
    if case .listed(let rows) = heads { used["heads of \(layer)"] = rows.name }
  }
  func transform(layer: Int, neurons: RowChoice<Label>, reading x: Label, into out: Label) {
    if case .listed(let rows) = neurons { used["neurons of \(layer)"] = rows.name }
  }
  func combine(_ contribution: Label) {}
  func add(_ contribution: Label, bias: BiasSite, into x: Label) {
    switch bias {
    case .attention(let layer): x.name = "y\(layer)"
    case .mlp(let layer): x.name = "x\(layer + 1)"
    }
  }
  func project(_ x: Label) {}
  func synchronize() {}
  func logits(_ index: Int) -> UnsafeBufferPointer<Float> { UnsafeBufferPointer(scores) }
}
