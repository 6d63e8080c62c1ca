package import DejaVu
import DejaVuCPU
import DejaVuCore
package import DejaVuModels

/// Answers every question about where a model's sparsity is, by watching the one decoder.
package struct ExistenceStudy {
  private let model: LanguageModel
  private let name: String
  private let folder: String
  private let backend: CPUBackend
  private let windows: WindowSplit
  private let options: ExistenceOptions
  private let sparsity: Sparsity?

  /// - Parameters:
  ///   - model: on the CPU.
  ///   - folder: its folder, whose last part names it.
  ///   - windows: text to measure on and to learn from.
  ///   - sparsity: a plan with its choosers to measure again; nil leaves that question out.
  ///   - options: how much every question reads.
  /// - Throws: ``SelectorError/notOnCPU(_:)``.
  package init(
    model: LanguageModel, folder: String, windows: WindowSplit, sparsity: Sparsity?,
    options: ExistenceOptions
  ) throws(SelectorError) {
    guard let backend = model.engine.cpu else { throw .notOnCPU(.oracle) }
    (self.model, self.backend, self.windows) = (model, backend, windows)
    (self.folder, self.sparsity, self.options) = (folder, sparsity, options)
    name = folder.split(separator: "/").last.map(String.init) ?? folder
  }

  /// Steps of decoding that ``run(progress:)`` takes, which nearly all of its time is for.
  package var steps: Int {
    let tokens = windows.measured.reduce(0) { $0 + $1.count }
    let selectors = RowAxis.allCases.reduce(0) { $0 + SelectorComparison.kinds($1).count + 1 }
    return TwoPass.decodeSteps(tokens: twoPassTokens, options: options) + tokens * selectors
  }

  private var twoPassWindows: [[TokenID]] { Array(windows.measured.prefix(options.twoPassWindows)) }
  private var twoPassTokens: Int { twoPassWindows.reduce(0) { $0 + $1.count } }
  private var attentionWindows: [[TokenID]] {
    windows.measured.prefix(options.attentionWindows).map {
      Array($0.prefix(min(options.attentionLength, backend.batchCapacity)))
    }
  }

  /// Runs on the calling thread.
  ///
  /// - Parameter progress: called with decode steps done and their total.
  /// - Returns: every answer, with what was left out.
  /// - Throws: ``BackendError``, ``SelectorError``, ``PredictorError``.
  package func run(progress: @escaping (Int, Int) -> Void) throws -> ExistenceReport {
    let start = ContinuousClock.now
    var done = 0
    let step = { (count: Int) in
      done += count
      progress(min(done, steps), steps)
    }
    var report = ExistenceReport(model: description, method: method)
    try readDense(into: &report)
    report.drift = try drift()
    report.clustering = try clustering()
    if let sparsity, let probe = SetProbe(engine: model.engine) {
      let figures = try probe.figures(of: sparsity, windows: windows.measured) { _ in }
      report.choosers = [ChooserQuality(sparsity, figures)]
    } else {
      report.notes.append("there is no plan beside the model whose choosers could be measured")
    }
    report.twoPass = try TwoPass(engine: model.engine, backend: backend, options: options)
      .run(twoPassWindows, progress: step)
    for axis in RowAxis.allCases {
      let comparison = SelectorComparison(
        model: model, folder: folder, windows: windows, options: options)
      let found = try comparison.run(axis, progress: step)
      report.selectorLayers += found.layers
      report.selectors += found.rows
      report.notes += found.notes
    }
    report.method.seconds = Figure((ContinuousClock.now - start).seconds)
    return report
  }

  /// Histograms and shared sets, from one dense reading.
  private func readDense(into report: inout ExistenceReport) throws(BackendError) {
    let a = model.architecture
    let session = try model.engine.makeSession(capacity: windows.lesson.map(\.count).max() ?? 0)
    let mass = try RowMass(
      backend: backend, session: session, windows: windows.lesson
    ) { _ in }
    var sharing = SharingCount(a, options: options, mass: mass)
    var counts = RowAxis.allCases.map { _ in Array(repeating: NormCount(), count: a.layers) }
    let pass = ContributionPass(engine: model.engine, backend: backend)
    try pass.run(windows.measured) { window, contributions throws(BackendError) in
      let orders = WindowOrders(contributions, a, tokens: window.count)
      sharing.add(window, orders)
      for (index, axis) in RowAxis.allCases.enumerated() {
        for layer in 0..<a.layers {
          for t in 1..<window.count {
            counts[index][layer].add(contributions.contributions(axis, layer, t))
            counts[index][layer].add(orders[axis, layer, t], of: axis.rows(a))
          }
        }
      }
    }
    report.sharing = sharing.rows()
    report.norms = RowAxis.allCases.enumerated().flatMap { index, axis in
      [counts[index].reduce(NormCount(), +).histogram(axis, layer: nil)]
        + counts[index].enumerated().map { $1.histogram(axis, layer: $0) }
    }
  }

  private func drift() throws(BackendError) -> [DriftRow] {
    let observer = DriftObserver(model.architecture)
    let session = try model.engine.makeSession(
      capacity: windows.measured.map(\.count).max() ?? 0)
    try backend.watch(
      session, reading: windows.measured, batch: backend.batchCapacity, with: observer
    ) { _ in }
    return observer.rows
  }

  private func clustering() throws(BackendError) -> [ClusteringRow] {
    let observer = ClusteringObserver(model.architecture)
    let session = try model.engine.makeSession(capacity: options.attentionLength)
    backend.attentionObserver = observer
    defer { backend.attentionObserver = nil }
    for window in attentionWindows {
      session.truncate(to: 0)
      try session.run(window[...], wanted: .none) { _, _ in }
    }
    return observer.rows
  }

  private var description: ExistenceReport.Model {
    let a = model.architecture
    return ExistenceReport.Model(
      name: name, fingerprint: model.loaded.fingerprint, layers: a.layers, heads: a.heads,
      headGroups: a.kvHeads, neurons: a.neurons, hidden: a.hidden,
      synthetic: model.loaded.isSynthetic)
  }

  private var method: ExistenceReport.Method {
    let count = { (windows: [[TokenID]]) in windows.reduce(0) { $0 + $1.count } }
    return ExistenceReport.Method(
      windows: windows.measured.count, tokens: count(windows.measured),
      lessonTokens: count(windows.lesson), twoPassTokens: twoPassTokens,
      attentionTokens: count(attentionWindows), neuronDensity: Figure(options.neuronDensity),
      headDensity: Figure(options.headDensity), seed: options.seed, seconds: Figure(nil),
      processor: Machine.processor)
  }
}
