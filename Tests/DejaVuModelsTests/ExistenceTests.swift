import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import DejaVuTestSupport
import Testing

/// Where the sparsity of the model in the box is.
struct ExistenceTests {
  private let model: LanguageModel
  private let folder = Golden.defaultModel.modelFolder
  private let report: ExistenceReport

  init() throws {
    model = try LanguageModel(path: folder, backend: .cpu(CPUOptions(threads: 2)))
    let cases = try Golden.defaultModel.cases().map(\.ids).sorted { $0.count > $1.count }
    let text = try #require(cases.first)
    var options = ExistenceOptions()
    (options.keptMasses, options.twoPassWindows) = ([0.5, 0.9, 1], 1)
    (options.attentionWindows, options.attentionLength) = (1, 32)
    let windows = WindowSplit(
      measured: [Array(text.suffix(80).prefix(40)), Array(text.suffix(40))],
      lesson: [Array(text.dropLast(80))])
    let store = try #require(try SparsityStore.open(model: model.loaded, folder: folder))
    let backend = try #require(model.engine.cpu)
    let plan = try #require(store.plans.first)
    report = try ExistenceStudy(
      model: model, folder: folder, windows: windows,
      sparsity: try store.resolve(plan, on: backend), options: options
    ).run { _, _ in }
  }

  @Test func `every question has an answer for every layer, and JSON keeps it`() throws {
    let a = model.architecture
    #expect(report.sharing.count == 2 * a.layers)
    #expect(report.drift.count == a.layers)
    #expect(report.clustering.count == a.layers * a.heads)
    #expect(report.norms.count == 2 * (a.layers + 1))
    #expect(report.selectors.map(\.selector).contains("nearest"))
    #expect(report.choosers.count == 1 && report.choosers[0].rows.count > 0)
    #expect(try ExistenceReport.reports(json: ExistenceReport.json(of: [report])) == [report])
    for title in ["Two passes", "The stream", "Choosers of the plan"] {
      #expect(report.text.contains(title))
    }
  }

  @Test func `keeping every contribution changes nothing, and less keeps fewer rows`() throws {
    for kept in TwoPassRow.Kept.allCases {
      let rows = report.twoPass.rows(kept)
      let all = try #require(rows.last)
      #expect(all.agreement.value == 1)
      #expect(try #require(all.divergence.value) < 1e-3)
      let shares = rows.compactMap(\.parameterShare.value)
      #expect(shares == shares.sorted() && shares[0] < shares[2])
      let damage = rows.compactMap(\.divergence.value)
      #expect(damage[0] > damage[2])
      #expect(report.twoPass.sufficient(kept) != nil)
    }
    let heads = try #require(report.twoPass.rows(.heads).first)
    #expect(try #require(heads.headDensity.value) < 1)
    #expect(heads.neuronDensity.value == 1)
  }

  @Test func `figures are shares, and the oracle's sets are its own measure`() throws {
    for row in report.sharing {
      for share in [row.neighbour, row.otherToken, row.staticSet] {
        #expect((0...1).contains(try #require(share.value)))
      }
    }
    for row in report.drift {
      let cosine = try #require(row.layerCosine.value)
      #expect((-1...1).contains(cosine))
      #expect(try #require(row.streamNorm.value) > 0)
    }
    for row in report.clustering {
      #expect((0...1.0001).contains(try #require(row.entropy.value)))
      #expect(try #require(row.distanceAfter.value) > 0)
    }
    for histogram in report.norms {
      let sum = histogram.shares.compactMap(\.value).reduce(0, +)
      #expect(abs(sum + (histogram.zeroShare.value ?? 0) - 1) < 0.01)
    }
    let neurons = report.selectors.filter { $0.axis == "neurons" }
    let oracle = try #require(neurons.first { $0.selector == "oracle" })
    #expect(oracle.recall.value == 1 && oracle.precision.value == 1)
    // Every run's shares are of its own stream; random rows are far behind in any.
    let random = try #require(neurons.first { $0.selector == "random" })
    #expect(try #require(random.coveredMass.value) < 0.5 * #require(oracle.coveredMass.value))
  }
}

/// Keeps how attention weighed, and what came of it.
private final class WeightCopies: AttentionObserver {
  let architecture: Architecture
  var rows: [(layer: Int, token: Int, head: Int, weights: [Float], context: [Float])] = []
  /// `[layer][token]` values of all groups, over batches.
  var values: [Int: [[Float]]] = [:]

  init(_ architecture: Architecture) { self.architecture = architecture }

  func observe(layer: Int, _ view: AttentionView) {
    let h = architecture.headWidth
    for t in 0..<view.tokens {
      values[layer, default: []].append(
        (0..<architecture.kvHeads * h).map { view.values[t * view.valueStride + $0] })
      for head in 0..<architecture.heads {
        rows.append(
          (
            layer, view.position + t, head, Array(view.weights(head: head, token: t)),
            (0..<h).map { view.context[t * view.contextStride + head * h + $0] }
          ))
      }
    }
  }
}

struct AttentionObserverTests {
  @Test(arguments: TinyModel.allCases)
  func `weights that are shown sum to one and give the context that was used`(
    tiny: TinyModel
  ) throws {
    let model = tiny.model()
    let engine = try Engine(model: model, backend: .cpu(CPUOptions(threads: 2)))
    let cpu = try #require(engine.cpu)
    let copies = WeightCopies(model.architecture)
    let session = try engine.makeSession(capacity: 32)
    cpu.attentionObserver = copies
    // The second batch sees the positions of the first.
    for part in [0..<11, 11..<24] {
      try session.run(part.map { TokenID($0 * 13 % 250) }[...], wanted: .none) { _, _ in }
    }
    cpu.attentionObserver = nil
    let h = model.architecture.headWidth
    #expect(copies.rows.count == 24 * model.architecture.layers * model.architecture.heads)
    for row in copies.rows {
      #expect(row.weights.count == row.token + 1)
      #expect(abs(row.weights.reduce(0, +) - 1) < 1e-4)
      let values = try #require(copies.values[row.layer])
      let first = row.head / model.architecture.headsPerGroup * h
      for lane in 0..<h {
        let sum = row.weights.indices.reduce(Float(0)) {
          $0 + row.weights[$1] * values[$1][first + lane]
        }
        #expect(abs(sum - row.context[lane]) < 1e-3)
      }
      if let window = model.architecture.slidingWindow {
        #expect(row.weights.dropLast(window).allSatisfy { $0 == 0 })
      }
    }
  }
}
