import DejaVuCPU
import DejaVuCore
import DejaVuModels

/// Watches one layer of a prompt: what every competitor scores, and what the rows really add.
final class CurveRecorder: StepObserver {
  private let backend: CPUBackend
  private let layer: Int
  private let competitors: [Competitor]
  private let rule: RuleKind
  private let measure: ContributionMeasure
  private let arithmetic: DenseArithmetic
  private let (stream, work, norms): (CPUBuffer, CPUBuffer, CPUBuffer)
  private let rows: [RowAxis: CPURows]
  /// Of each competitor, `[sampled tokens][rows]`; filled before the layer's rows are known.
  private var scores: [[[Float]]]
  /// One for each competitor.
  private(set) var curves: [MassCurve]
  /// The layer's neurons with their own contributions for scores: what is active at all.
  private(set) var truth: MassCurve

  init(
    backend: CPUBackend, layer: Int, competitors: [Competitor], rule: RuleKind,
    measure: ContributionMeasure, arithmetic: DenseArithmetic
  ) {
    let a = backend.architecture
    self.backend = backend
    self.layer = layer
    self.competitors = competitors
    self.rule = rule
    self.measure = measure
    self.arithmetic = arithmetic
    stream = CPUBuffer(capacity: backend.batchCapacity, width: a.hidden)
    work = CPUBuffer(
      capacity: backend.batchCapacity, width: a.heads * a.headWidth)
    norms = CPUBuffer(capacity: backend.batchCapacity, width: a.kvHeads)
    rows = Dictionary(
      uniqueKeysWithValues: RowAxis.allCases.map { ($0, backend.makeRows(universe: $0.rows(a))) })
    scores = competitors.map { _ in [] }
    curves = competitors.map { MassCurve(neurons: $0.site.axis.rows(a)) }
    truth = MassCurve(neurons: a.neurons)
  }

  /// Every fourth token, the first, which has no context, left out.
  private func samples(_ tokens: Int) -> StrideTo<Int> { stride(from: 1, to: tokens, by: 4) }

  func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    let source = StreamSource(site: site, layer: layer)
    for (index, competitor) in competitors.enumerated() where competitor.source == source {
      score(index, competitor, values, tokens, stride)
    }
    guard layer == self.layer else { return }
    if site == .context {
      measure.headNorms(
        values, tokens: tokens, stride: stride, arithmetic, work: work, into: norms)
      let groups = backend.architecture.kvHeads
      for (entry, t) in samples(tokens).enumerated() {
        add(.heads, entry, UnsafeBufferPointer(start: norms.row(t), count: groups))
      }
    }
    if site == .activations {
      var sizes = [Float](repeating: 0, count: measure.downNorms.count)
      for (entry, t) in samples(tokens).enumerated() {
        for i in sizes.indices { sizes[i] = abs(values[t * stride + i]) * measure.downNorms[i] }
        sizes.withUnsafeBufferPointer { add(.neurons, entry, $0) }
      }
    }
  }

  private func score(
    _ index: Int, _ competitor: Competitor, _ values: UnsafePointer<Float>, _ tokens: Int,
    _ stride: Int
  ) {
    for t in 0..<tokens {
      stream.row(t).update(from: values + t * stride, count: backend.architecture.hidden)
    }
    guard let rows = rows[competitor.site.axis] else { return }
    backend.choose(
      competitor.weights, by: .threshold(.infinity), layer: layer, reading: stream, into: rows)
    scores[index] = samples(tokens).map { t in
      let scores = Array(backend.lastScores(token: t, rows: rows.universe))
      return rule == .count ? Self.places(scores) : scores
    }
  }

  private func add(_ axis: RowAxis, _ entry: Int, _ contributions: UnsafeBufferPointer<Float>) {
    for (index, competitor) in competitors.enumerated() where competitor.site.axis == axis {
      scores[index][entry].withUnsafeBufferPointer {
        curves[index].add(scores: $0, contributions: contributions, samplesAll: true)
      }
    }
    if axis == .neurons {
      truth.add(scores: contributions, contributions: contributions, samplesAll: true)
    }
  }

  /// Each row's place among its token's scores, negative, so that a threshold is a count.
  static func places(_ scores: [Float]) -> [Float] {
    var places = scores
    let order = scores.indices.sorted { scores[$0] > scores[$1] }
    for (place, row) in order.enumerated() { places[row] = -Float(place + 1) }
    return places
  }

  /// Orders what was collected.
  func finish() {
    for index in curves.indices { curves[index].sort() }
    truth.sort()
  }
}
