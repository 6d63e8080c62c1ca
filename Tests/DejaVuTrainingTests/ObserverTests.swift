import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import DejaVuTraining
import Testing

/// Keeps everything that is shown, as plain arrays.
private final class Copies: StepObserver {
  let architecture: Architecture
  var rows: [StreamSource: [[Float]]] = [:]
  var activations: [Int: [[Float]]] = [:]
  var context: [Int: [[Float]]] = [:]

  init(_ architecture: Architecture) { self.architecture = architecture }

  func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    func copy(_ width: Int) -> [[Float]] {
      (0..<tokens).map { t in (0..<width).map { values[t * stride + $0] } }
    }
    switch site {
    case .attentionInput, .mlpInput, .output:
      rows[StreamSource(site: site, layer: layer), default: []] += copy(architecture.hidden)
    case .activations: activations[layer, default: []] += copy(architecture.neurons)
    case .context:
      context[layer, default: []] += copy(architecture.heads * architecture.headWidth)
    }
  }
}

struct ObserverTests {
  private let tokens: [TokenID] = (0..<24).map { TokenID($0 * 13 % 250) }

  private func copies(_ engine: Engine) throws -> Copies {
    let copies = Copies(engine.model.architecture)
    engine.cpu?.observer = copies
    let session = try engine.makeSession(capacity: 32)
    try session.run(tokens[...], wanted: .none) { _, _ in }
    engine.cpu?.observer = nil
    return copies
  }

  /// Σ weights[i] · matrix row i.
  private func combined(_ weights: [Float], _ matrix: RowMatrix) -> [Double] {
    (0..<matrix.columns).map { column in
      weights.indices.reduce(0.0) {
        $0 + Double(weights[$1]) * Double(matrix.element($1, column))
      }
    }
  }

  @Test(arguments: [TinyModel.opt, .llamaGrouped, .llamaReLU, .gpt2, .bloom, .olmo])
  func `streams differ by what context and activations add`(tiny: TinyModel) throws {
    let engine = try TinyTraining.engine(tiny)
    let (copies, model) = (try copies(engine), engine.model)
    for layer in 0..<model.architecture.layers {
      let weights = model.layers[layer]
      let before = try #require(copies.rows[StreamSource(site: .attentionInput, layer: layer)])
      let behind = try #require(copies.rows[StreamSource(site: .mlpInput, layer: layer)])
      let after = copies.rows[
        layer + 1 < model.architecture.layers
          ? StreamSource(site: .attentionInput, layer: layer + 1)
          : StreamSource(site: .output, layer: layer)]
      for t in [0, 1, 23] {
        let attention = combined(try #require(copies.context[layer])[t], weights.output)
        let mlp = combined(try #require(copies.activations[layer])[t], weights.bundle.down)
        for i in 0..<model.architecture.hidden {
          let outputBias = Double(weights.outputBias?.base[i] ?? 0)
          let downBias = Double(weights.downBias?.base[i] ?? 0)
          #expect(abs(Double(behind[t][i] - before[t][i]) - attention[i] - outputBias) < 1e-4)
          guard let after else { continue }
          #expect(abs(Double(after[t][i] - behind[t][i]) - mlp[i] - downBias) < 1e-4)
        }
      }
    }
  }

  @Test(arguments: TinyModel.allCases)
  func `every family shows every site of every layer, and decoding none`(tiny: TinyModel) throws {
    let engine = try TinyTraining.engine(tiny)
    let copies = try copies(engine)
    let layers = engine.model.architecture.layers
    #expect(copies.rows.count == 2 * layers + 1)
    #expect(copies.rows.values.allSatisfy { $0.count == tokens.count })
    #expect(copies.activations.count == layers && copies.context.count == layers)
    let decoding = Copies(engine.model.architecture)
    engine.cpu?.observer = decoding
    let session = try engine.makeSession(capacity: 8)
    for token in tokens.prefix(4) { _ = try session.decode(token) }
    #expect(decoding.rows.isEmpty && decoding.activations.isEmpty && decoding.context.isEmpty)
  }

  @Test(arguments: [TinyModel.opt, .llamaGrouped, .gpt2])
  func `labels are what contributions above the threshold say`(tiny: TinyModel) throws {
    let engine = try TinyTraining.engine(tiny)
    let (copies, model) = (try copies(engine), engine.model)
    let architecture = model.architecture
    let cpu = try #require(engine.cpu)
    let options = TinyTraining.options()
    let group = try TrainingPlan(model, options, batch: 64).groups[0]
    let recorder = ActivationRecorder(
      model: model, options: options, arithmetic: cpu.makeArithmetic(), batch: 64)
    let store = try SampleStore(tokens: 32, group: group, architecture: architecture)
    let threshold: Float = 0.3
    let keys = group.sites.map { PredictorKey($0.site) }
    cpu.observer = recorder
    recorder.record(
      into: store, group: group,
      thresholds: Dictionary(keys.map { ($0, threshold) }, uniquingKeysWith: { $1 }), row: 3)
    let session = try engine.makeSession(capacity: 32)
    try session.run(tokens[...], wanted: .none) { _, _ in }
    var positives = 0
    for (index, site) in group.sites.enumerated() {
      let layer = site.site.layer
      for t in [0, 5, 23] {
        let codes = store.codes(index, token: 3 + t)
        for row in 0..<site.rows {
          let size = contribution(site.site.axis, row, layer, t, copies, model)
          // Within rounding of the threshold either label is right.
          guard abs(size - Double(threshold)) > 1e-5 else { continue }
          #expect((codes[row] >= ContributionCode.threshold) == (size > Double(threshold)))
          positives += size > Double(threshold) ? 1 : 0
        }
      }
    }
    #expect(positives > 50)
  }

  /// The norm of what one row adds to the stream, from its definition.
  private func contribution(
    _ axis: RowAxis, _ row: Int, _ layer: Int, _ t: Int, _ copies: Copies, _ model: PackedModel
  ) -> Double {
    let weights = model.layers[layer]
    var values: [Float]
    switch axis {
    case .neurons:
      values = Array(repeating: 0, count: model.architecture.neurons)
      values[row] = copies.activations[layer]?[t][row] ?? .nan
      return norm(combined(values, weights.bundle.down))
    case .heads:
      let lanes = model.architecture.headsPerGroup * model.architecture.headWidth
      values = copies.context[layer]?[t] ?? []
      for i in values.indices where i / lanes != row { values[i] = 0 }
      return norm(combined(values, weights.output))
    }
  }

  private func norm(_ vector: [Double]) -> Double {
    vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
  }
}
