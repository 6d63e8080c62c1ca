package import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuModels

/// Makes selectors of equal density for one model.
package final class SelectorFactory {
  package struct Options: Sendable {
    /// Share of the neurons that every layer computes; 1 reads them all.
    package var mlpDensity = 1.0
    /// The same of groups of heads.
    package var headDensity = 1.0
    /// Windows of calibration text, for selectors that learn from one.
    package var calibration: [[TokenID]] = []
    /// Of random rows.
    package var seed: UInt64 = 1

    package init() {}
  }

  private let model: LanguageModel
  private let folder: String
  private let backend: CPUBackend
  private let options: Options
  private let progress: (Int, Int) -> Void
  private let lessons: Lessons

  /// What was learned, for factories of all densities.
  private final class Lessons {
    var mass: RowMass?
    var fitted: [RowAxis: [ChooserSite: ChooserWeights]] = [:]
  }

  /// - Returns: nil where the model does not run on the CPU.
  package init?(
    model: LanguageModel, folder: String, options: Options,
    progress: @escaping (Int, Int) -> Void = { _, _ in }
  ) {
    guard let backend = model.engine.cpu else { return nil }
    self.model = model
    self.folder = folder
    self.backend = backend
    self.options = options
    self.progress = progress
    lessons = Lessons()
  }

  private init(_ other: SelectorFactory, options: Options) {
    (model, folder, backend) = (other.model, other.folder, other.backend)
    (progress, lessons) = (other.progress, other.lessons)
    self.options = options
  }

  /// A factory for other densities that need not learn again.
  package func with(mlpDensity: Double, headDensity: Double) -> SelectorFactory {
    var options = options
    (options.mlpDensity, options.headDensity) = (mlpDensity, headDensity)
    return SelectorFactory(self, options: options)
  }

  private var architecture: Architecture { model.architecture }

  /// Rows that a layer computes on an axis; nil where it computes all.
  private func count(_ axis: RowAxis) -> Int? {
    let density = axis == .heads ? options.headDensity : options.mlpDensity
    let count = SyntheticSparsity.count(density: density, of: axis.rows(architecture))
    return density < 1 && count < axis.rows(architecture) ? count : nil
  }

  /// Axes of which rows are left out.
  private var axes: [RowAxis] { RowAxis.allCases.filter { count($0) != nil } }

  /// A run of this kind.
  ///
  /// - Throws: ``SelectorError``, ``PredictorError`` for a damaged predictor file, ``BackendError``.
  package func subject(_ kind: SelectorKind) throws -> ComparedSubject {
    switch kind {
    case .dense: return .dense
    case .exact: return .exact
    default: break
    }
    guard !axes.isEmpty else { throw SelectorError.nothingToChoose(kind) }
    guard !kind.needsCalibration || !options.calibration.isEmpty else {
      throw SelectorError.noCalibration(kind)
    }
    return ComparedSubject(kind.rawValue, sparsity: try sparsity(kind))
  }

  private func sparsity(_ kind: SelectorKind) throws -> Sparsity {
    switch kind {
    case .predicted:
      return try stored(kind) { axis, count, placement in
        axis == .neurons
          ? .shadow(bits: 4, .afterAttention, .highest(count))
          : .lowRank(placement, .highest(count))
      }
    case .lowRank: return try stored(kind) { .lowRank($2, .highest($1)) }
    case .static: return try heaviest()
    case .nonContextual:
      return Sparsity(
        plan: plan(kind) { _, count, _ in .lowRank(.embedding, .highest(count)) },
        choosers: try fitted())
    default:
      return Sparsity(plan: try plan(kind) { axis, count, _ in try policy(kind, axis, count) })
    }
  }

  /// Policies that need nothing beside the weights.
  private func policy(_ kind: SelectorKind, _ axis: RowAxis, _ count: Int) throws -> RowPolicy {
    switch (kind, axis) {
    case (.oracle, _): return .oracle(.highest(count))
    case (.nearest, .neurons): return .nearest(.highest(count))
    case (.random, _):
      let density = axis == .heads ? options.headDensity : options.mlpDensity
      return .random(density: density, seed: options.seed)
    default: throw SelectorError.axisNotChosen(kind, axis)
    }
  }

  private func plan(
    _ kind: SelectorKind, _ policy: (RowAxis, _ count: Int, _ layer: Int) throws -> RowPolicy
  ) rethrows -> SparsityPlan {
    var plan = SparsityPlan.uniform(
      kind.rawValue, layers: architecture.layers, heads: .all, neurons: .all)
    plan.weightFormat = model.loaded.model.format.name
    for layer in plan.layers.indices {
      if let count = count(.heads) { plan.layers[layer].heads = try policy(.heads, count, layer) }
      if let count = count(.neurons) {
        plan.layers[layer].neurons = try policy(.neurons, count, layer)
      }
    }
    return plan
  }
}

// Selectors with something behind them --------------------------------------------------------------

extension SelectorFactory {
  /// With stored predictors of the first placement that all layers have.
  private func stored(
    _ kind: SelectorKind, _ policy: (RowAxis, Int, Placement) -> RowPolicy
  ) throws -> Sparsity {
    let store =
      try SparsityStore.open(model: model.loaded, folder: folder) ?? .empty(path: folder)
    let layers = architecture.layers
    var placements: [RowAxis: Placement] = [:]
    for axis in axes {
      if case .shadow = policy(axis, 1, .same) { continue }
      let stored = axis.placements.first { store.hasPredictors(axis, $0, layers: layers) }
      guard let found = stored else {
        throw SelectorError.notTrained(kind, axis, folder: folder)
      }
      placements[axis] = found
    }
    let plan = plan(kind) { axis, count, _ in policy(axis, count, placements[axis] ?? .same) }
    return try store.resolve(plan, on: backend)
  }

  private func session() throws(BackendError) -> any Session {
    try model.engine.makeSession(capacity: options.calibration.map(\.count).max() ?? 0)
  }

  private func heaviest() throws -> Sparsity {
    if lessons.mass == nil { lessons.mass = try mass(of: options.calibration) }
    guard let mass = lessons.mass else { throw SelectorError.noCalibration(.static) }
    return Sparsity(plan: heaviest(by: mass))
  }

  private func heaviest(by mass: RowMass) -> SparsityPlan {
    plan(.static) { .fixed(mass.heaviest($1, $0, layer: $2)) }
  }

  /// What every row carries of a text.
  ///
  /// - Throws: ``BackendError``.
  package func mass(of windows: [[TokenID]]) throws(BackendError) -> RowMass {
    let total = windows.joined().count
    let session = try model.engine.makeSession(capacity: windows.map(\.count).max() ?? 0)
    var done = 0
    return try RowMass(backend: backend, session: session, windows: windows) {
      done += $0
      progress(done, total)
    }
  }

  /// The rows that carry most of another text than the calibration's, for every token.
  package func subject(static name: String, by mass: RowMass) -> ComparedSubject {
    ComparedSubject(name, sparsity: Sparsity(plan: heaviest(by: mass)))
  }

  private func fitted() throws -> [ChooserSite: ChooserWeights] {
    let missing = axes.filter { lessons.fitted[$0] == nil }
    if !missing.isEmpty {
      let fit = EmbeddingFit(
        backend: backend, session: try session(), windows: options.calibration)
      let total = options.calibration.joined().count * fit.passes
      var done = 0
      let made = try fit.choosers(axes: missing) {
        done += $0
        progress(done, total)
      }
      for axis in missing { lessons.fitted[axis] = made.filter { $0.key.axis == axis } }
    }
    return axes.reduce(into: [:]) { all, axis in
      all.merge(lessons.fitted[axis] ?? [:]) { one, _ in one }
    }
  }
}
