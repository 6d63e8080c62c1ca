import DejaVu
import DejaVuCore
import DejaVuFormats
package import DejaVuModels

extension PredictorTraining {
  /// The best predictors, heads and neurons by layer.
  private var best: [BestPredictor] {
    state.best.values.sorted {
      ($0.entry.site.axis.rawValue, $0.entry.site.layer)
        < ($1.entry.site.axis.rawValue, $1.entry.site.layer)
    }
  }

  func finishReport() {
    report.seconds = elapsed
    // Those of parts that an earlier run finished.
    report.tokens = best.reduce(report.tokens) { max($0, $1.entry.figures.tokens) }
    report.rows = best.map { predictor in
      let byteCount = predictor.rounded.first.count + predictor.rounded.second.count
      let layer = engine.model.layers[predictor.entry.site.layer]
      let isMLP = predictor.entry.site.axis == .neurons
      let all = isMLP ? layer.bundle.byteCount : layer.attentionBytes
      return TrainingReport.Row(
        entry: predictor.entry, byteCount: byteCount,
        byteShare: Double(byteCount) / Double(max(all, 1)))
    }
  }

  /// The trained predictors.
  package var predictors: [PredictorFile.Predictor] {
    let columns = PredictorEntry.columns(engine.model.architecture)
    return best.map { predictor in
      let entry = predictor.entry
      let owner = PredictorBytes(predictor.rounded)
      let rows = entry.site.axis.rows(engine.model.architecture)
      return PredictorFile.Predictor(
        entry: entry,
        weights: ChooserWeights(
          first: GroupwiseMatrix(
            base: owner.first, bits: entry.bits, rows: entry.rank, columns: columns, owner: owner),
          second: GroupwiseMatrix(
            base: owner.second, bits: entry.bits, rows: rows, columns: entry.rank, owner: owner),
          norm: .plain, bias: FloatVector(base: owner.bias, count: rows, owner: owner)))
    }
  }

  /// Writes the trained predictors, and forgets the state.
  ///
  /// Plans that lie in the file stay, but for those that ask the predictors that are replaced: their
  /// thresholds mean nothing to the new ones.
  ///
  /// - Throws: ``PredictorError``.
  package func write(to path: String) throws(PredictorError) {
    let plans = storedPlans(path).filter { !$0.asksPredictors }
    try PredictorFile.write(
      predictors, to: path, fingerprint: fingerprint, plans: PlanText.text(plans))
    if let statePath { FileSystem.remove(statePath) }
  }

  /// None where there is no file of this model: it is replaced whole.
  private func storedPlans(_ path: String) -> [SparsityPlan] {
    let architecture = engine.model.architecture
    guard
      let file = try? PredictorFile.open(
        path: path, fingerprint: fingerprint, architecture: architecture),
      let plans = try? PlanReader(architecture: architecture, path: path).plans(in: file.plans)
    else { return [] }
    return plans
  }
}

/// Memory behind a predictor that is on its way to a file.
private final class PredictorBytes: @unchecked Sendable {
  // Safe to share: written once, here.
  let first: UnsafeMutableRawPointer
  let second: UnsafeMutableRawPointer
  let bias: UnsafeMutablePointer<Float>

  init(_ rounded: RoundedPredictor) {
    first = .allocate(byteCount: max(rounded.first.count, 1), alignment: 64)
    second = .allocate(byteCount: max(rounded.second.count, 1), alignment: 64)
    bias = .allocate(capacity: max(rounded.bias.count, 1))
    rounded.first.withUnsafeBytes {
      UnsafeMutableRawBufferPointer(start: first, count: $0.count).copyMemory(from: $0)
    }
    rounded.second.withUnsafeBytes {
      UnsafeMutableRawBufferPointer(start: second, count: $0.count).copyMemory(from: $0)
    }
    bias.initialize(from: rounded.bias, count: rounded.bias.count)
  }

  deinit {
    first.deallocate()
    second.deallocate()
    bias.deallocate()
  }
}
