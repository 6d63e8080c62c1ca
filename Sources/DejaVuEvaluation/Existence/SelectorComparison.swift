import DejaVu
import DejaVuCore
import DejaVuModels

/// One way to choose rows, in one layer, against the oracle at equal density.
package struct SelectorLayerRow: Codable, Hashable, Sendable {
  package var selector: String
  package var axis: String
  package var layer: Int
  package var density: Figure
  package var recall: Figure
  package var precision: Figure
  package var coveredMass: Figure

  init(_ selector: String, _ axis: RowAxis, _ layer: Int, _ figures: RowFigures) {
    (self.selector, self.axis, self.layer) = (selector, axis.rawValue, layer)
    (density, recall) = (Figure(figures.density), Figure(figures.recall))
    (precision, coveredMass) = (Figure(figures.precision), Figure(figures.coveredMass))
  }
}

/// The same over all layers, with what decoding by it costs.
package struct SelectorRow: Codable, Hashable, Sendable {
  package var selector: String
  package var axis: String
  package var density: Figure
  package var recall: Figure
  package var precision: Figure
  package var coveredMass: Figure
  /// Relative increase over dense, its standard error over windows, and equal greedy choices.
  package var perplexityIncrease: Figure
  package var standardError: Figure
  package var agreement: Figure
  /// Median time of a decode step, choosing included, and how many times faster that is than the
  /// dense steps that it took turns with.
  package var milliseconds: Figure
  package var speedup: Figure
}

/// Contextual, non-contextual and static sets of equal density, and the search for nearest rows.
struct SelectorComparison {
  let model: LanguageModel
  let folder: String
  let windows: WindowSplit
  let options: ExistenceOptions

  /// Selectors of an axis.
  ///
  /// Those that this model has nothing for are left out by name.
  static func kinds(_ axis: RowAxis) -> [SelectorKind] {
    axis == .neurons
      ? [.oracle, .predicted, .nearest, .nonContextual, .static, .random]
      : [.oracle, .lowRank, .nonContextual, .static, .random]
  }

  /// - Returns: figures by layer, over all layers, and sentences about what was left out.
  /// - Throws: ``SelectorError``, ``PredictorError``, ``BackendError``.
  func run(
    _ axis: RowAxis, progress: (_ decodeSteps: Int) -> Void
  ) throws -> (layers: [SelectorLayerRow], rows: [SelectorRow], notes: [String]) {
    var wanted = SelectorFactory.Options()
    wanted.mlpDensity = axis == .neurons ? options.neuronDensity : 1
    wanted.headDensity = axis == .heads ? options.headDensity : 1
    (wanted.calibration, wanted.seed) = (windows.lesson, options.seed)
    guard let probe = SetProbe(engine: model.engine),
      let factory = SelectorFactory(model: model, folder: folder, options: wanted)
    else { throw SelectorError.notOnCPU(.oracle) }
    var (subjects, notes): ([ComparedSubject], [String]) = ([], [])
    for kind in Self.kinds(axis) {
      do {
        subjects.append(try factory.subject(kind))
      } catch SelectorError.notTrained(let kind, let axis, _) {
        notes.append("'\(kind.rawValue)' has no trained predictors of \(axis.rawValue) here")
      }
    }
    var (layers, totals): ([SelectorLayerRow], [String: RowFigures]) = ([], [:])
    for subject in subjects {
      guard let sparsity = subject.sparsity else { continue }
      let figures = try probe.figures(of: sparsity, windows: windows.measured) { _ in }
      for (layer, row) in (axis == .heads ? figures.heads : figures.neurons).enumerated() {
        layers.append(SelectorLayerRow(subject.name, axis, layer, row))
      }
      totals[subject.name] = figures.total(axis)
    }
    var last = 0
    let runs = try PlanEvaluation(engine: model.engine, subjects: subjects)
      .run(windows: windows.measured) { done, _ in
        progress(done - last)
        last = done
      }
    return (layers, rows(axis, runs, totals), notes)
  }

  private func rows(
    _ axis: RowAxis, _ runs: [ComparedRun], _ totals: [String: RowFigures]
  ) -> [SelectorRow] {
    guard let dense = runs.first else { return [] }
    return runs.dropFirst().compactMap { run in
      guard let figures = totals[run.name] else { return nil }
      let increase = run.increase(over: dense)
      return SelectorRow(
        selector: run.name, axis: axis.rawValue, density: Figure(figures.density),
        recall: Figure(figures.recall), precision: Figure(figures.precision),
        coveredMass: Figure(figures.coveredMass), perplexityIncrease: Figure(increase.share),
        standardError: Figure(increase.standardError), agreement: Figure(run.agreement),
        milliseconds: Figure(run.medianMilliseconds),
        speedup: Figure(dense.medianMilliseconds / max(run.medianMilliseconds, 1e-9)))
    }
  }
}
