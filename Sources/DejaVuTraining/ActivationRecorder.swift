package import DejaVuCPU
package import DejaVuCore
import DejaVuEvaluation
package import DejaVuModels

/// Watches prompts and keeps what training needs of them: streams and contributions.
package final class ActivationRecorder: StepObserver {
  private let architecture: Architecture
  private let criterion: Criterion
  private let arithmetic: DenseArithmetic
  private let measures: [ContributionMeasure]
  private let norms: CPUBuffer
  private let work: CPUBuffer
  private var task = Task.nothing

  /// What is done with what comes by.
  private enum Task {
    case nothing
    /// Counts contributions to find thresholds.
    case counting
    case recording(Recording)
  }

  private struct Recording {
    let store: SampleStore
    let streams: [StreamSource: Int]
    let sites: [PredictorKey: Int]
    /// Per site, what a contribution is multiplied by: 1 / threshold.
    let scales: [Float]
    var row: Int
  }

  /// Contributions by axis and layer.
  package private(set) var histograms: [PredictorKey: MassHistogram] = [:]

  package init(
    model: PackedModel, options: TrainingOptions, arithmetic: DenseArithmetic, batch: Int
  ) {
    architecture = model.architecture
    criterion = options.criterion
    self.arithmetic = arithmetic
    measures = model.layers.map { ContributionMeasure($0, model.architecture, arithmetic) }
    norms = CPUBuffer(capacity: batch, width: model.architecture.kvHeads)
    work = CPUBuffer(
      capacity: batch, width: model.architecture.heads * model.architecture.headWidth)
  }

  package func count() { task = .counting }
  package func stop() { task = .nothing }

  /// Records what follows.
  ///
  /// - Parameters:
  ///   - store: where to.
  ///   - group: what is recorded.
  ///   - thresholds: each layer's unit of contribution.
  ///   - row: the store's token that the next batch begins at.
  package func record(
    into store: SampleStore, group: TrainingGroup, thresholds: [PredictorKey: Float], row: Int
  ) {
    let keys = group.sites.map { PredictorKey($0.site) }
    task = .recording(
      Recording(
        store: store,
        streams: Dictionary(uniqueKeysWithValues: zip(group.streams, group.streams.indices)),
        sites: Dictionary(uniqueKeysWithValues: zip(keys, keys.indices)),
        scales: keys.map { 1 / (thresholds[$0] ?? 1) }, row: row))
  }

  package func wants(_ site: StepSite, layer: Int) -> Bool {
    switch (site, task) {
    case (_, .nothing): false
    case (.activations, .counting), (.context, .counting): true
    case (_, .counting): false
    case (.activations, .recording(let recording)):
      recording.sites[PredictorKey(.neurons, layer)] != nil
    case (.context, .recording(let recording)):
      recording.sites[PredictorKey(.heads, layer)] != nil
    case (_, .recording(let recording)):
      recording.streams[StreamSource(site: site, layer: layer)] != nil
    }
  }

  package func observe(
    _ site: StepSite, layer: Int, values: UnsafePointer<Float>, tokens: Int, stride: Int
  ) {
    switch (site, task) {
    case (_, .nothing): break
    case (.activations, .counting): countNeurons(layer, values, tokens, stride)
    case (.context, .counting): countHeads(layer, values, tokens, stride)
    case (_, .counting): break
    case (.activations, .recording(let recording)):
      recordNeurons(layer, values, tokens, stride, recording)
    case (.context, .recording(let recording)):
      recordHeads(layer, values, tokens, stride, recording)
    case (_, .recording(let recording)):
      guard let index = recording.streams[StreamSource(site: site, layer: layer)] else { return }
      recordStream(index, values, tokens, stride, recording)
    }
  }

  // Counting ----------------------------------------------------------------------------------

  /// Each of so many parts of a batch counts by itself, so that sums do not depend on threads.
  private static let countingParts = 16

  private func countNeurons(
    _ layer: Int, _ values: UnsafePointer<Float>, _ tokens: Int, _ stride: Int
  ) {
    let (norms, takesSign, parts) = (
      measures[layer].downNorms, criterion == .activation, Self.countingParts
    )
    var counted = [MassHistogram](repeating: MassHistogram(), count: parts)
    counted.withUnsafeMutableBufferPointer { buffer in
      nonisolated(unsafe) let (counted, values) = (buffer, values)
      arithmetic.run(chunks: parts) { part in
        withUnsafeTemporaryAllocation(of: Float.self, capacity: norms.count) { row in
          for t in part * tokens / parts..<(part + 1) * tokens / parts {
            let activations = values + t * stride
            for i in norms.indices {
              // Below zero is nothing to the paper's criterion.
              let size = takesSign ? max(activations[i], 0) : abs(activations[i])
              row[i] = size * norms[i]
            }
            counted[part].add(UnsafeBufferPointer(row))
          }
        }
      }
    }
    var whole = histograms[PredictorKey(.neurons, layer)] ?? MassHistogram()
    for part in counted { whole.add(part) }
    histograms[PredictorKey(.neurons, layer)] = whole
  }

  private func countHeads(
    _ layer: Int, _ values: UnsafePointer<Float>, _ tokens: Int, _ stride: Int
  ) {
    measures[layer].headNorms(
      values, tokens: tokens, stride: stride, arithmetic, work: work, into: norms)
    for t in 0..<tokens {
      histograms[PredictorKey(.heads, layer), default: MassHistogram()]
        .add(UnsafeBufferPointer(start: norms.row(t), count: architecture.kvHeads))
    }
  }

  // Recording ---------------------------------------------------------------------------------

  private func recordStream(
    _ index: Int, _ values: UnsafePointer<Float>, _ tokens: Int, _ stride: Int,
    _ recording: Recording
  ) {
    nonisolated(unsafe) let (values, store) = (values, recording.store)
    let (loops, hidden, row) = (arithmetic.loops, architecture.hidden, recording.row)
    arithmetic.run(chunks: tokens) { t in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: store.width) { normed in
        guard let base = normed.baseAddress else { return }
        loops.normalize(
          values + t * stride, count: hidden, padded: store.width, into: base)
        loops.narrow(
          base, .float16, count: store.width, into: store.stream(index, token: row + t))
      }
    }
  }

  private func recordNeurons(
    _ layer: Int, _ values: UnsafePointer<Float>, _ tokens: Int, _ stride: Int,
    _ recording: Recording
  ) {
    guard let site = recording.sites[PredictorKey(.neurons, layer)] else { return }
    nonisolated(unsafe) let (values, store) = (values, recording.store)
    let row = recording.row
    let takesSign = criterion == .activation
    let scales = measures[layer].downNorms.map { $0 * recording.scales[site] }
    scales.withUnsafeBufferPointer { scales in
      nonisolated(unsafe) let scales = scales
      arithmetic.run(chunks: tokens) { t in
        let (codes, activations) = (store.codes(site, token: row + t), values + t * stride)
        // A code of what is negative is 0: the paper's criterion takes activations as they are.
        if takesSign {
          for i in 0..<scales.count {
            codes[i] = ContributionCode.code(activations[i] * scales[i])
          }
        } else {
          for i in 0..<scales.count {
            codes[i] = ContributionCode.code(abs(activations[i]) * scales[i])
          }
        }
      }
    }
  }

  private func recordHeads(
    _ layer: Int, _ values: UnsafePointer<Float>, _ tokens: Int, _ stride: Int,
    _ recording: Recording
  ) {
    guard let site = recording.sites[PredictorKey(.heads, layer)] else { return }
    let groups = architecture.kvHeads
    if criterion == .activation {
      measures[layer].contextNorms(values, tokens: tokens, stride: stride, into: norms)
    } else {
      measures[layer].headNorms(
        values, tokens: tokens, stride: stride, arithmetic, work: work, into: norms)
    }
    for t in 0..<tokens {
      let sizes = UnsafeBufferPointer(start: norms.row(t), count: groups)
      var scale = recording.scales[site]
      if criterion == .activation {
        // Relative to the shortest of the longer half, so that this half is at 1 and above.
        let bound = sizes.sorted(by: >)[(groups + 1) / 2 - 1]
        scale = bound > 0 ? 1 / bound : 0
      }
      let codes = recording.store.codes(site, token: recording.row + t)
      for group in 0..<groups { codes[group] = ContributionCode.code(sizes[group] * scale) }
    }
  }
}

/// An axis of a layer, wherever it is predicted from.
package struct PredictorKey: Hashable, Sendable {
  package let axis: RowAxis
  package let layer: Int

  package init(_ axis: RowAxis, _ layer: Int) {
    self.axis = axis
    self.layer = layer
  }

  package init(_ site: PredictorSite) { self.init(site.axis, site.layer) }
}
