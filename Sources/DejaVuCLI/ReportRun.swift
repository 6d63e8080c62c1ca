import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuEvaluation
import DejaVuModels

/// What `dejavu report` measures of every model.
struct ReportRun {
  let existence: ExistenceRun
  /// What quality and speed are measured on.
  let windows: Int
  let length: Int?
  /// What is asked by the oracle's rows.
  let tasks: [TaskFile]
  let limit: Int

  /// Measures one model after the other.
  ///
  /// - Throws: what reading texts and models throws, and ``PlanError`` for a plan that is not there.
  func models(folders: [String]) throws -> [SparsityReport.Model] {
    let measured = try EvaluationText.contents(of: existence.text)
    let learned = try existence.calibration.map { try EvaluationText.contents(of: $0) }
    return try folders.enumerated().map { index, folder in
      let place = folders.count > 1 ? " (model \(index + 1) of \(folders.count))" : ""
      let model = try existence.load(folder)
      let sparsity = try existence.sparsity(of: model, in: folder)
      // Speed first: what it takes is not known to anything that follows.
      let headline = try sparsity.map {
        try self.headline(
          of: model, $0, text: measured, label: "1 of \(parts), quality and speed" + place)
      }
      let found = try existence.report(
        of: model, in: folder, measured, learned, sparsity: sparsity,
        label: "2 of \(parts), looking for sparsity" + place)
      let answers = try asked(
        model, folder, sparsity, found.method, label: "3 of \(parts), tasks" + place)
      return SparsityReport.Model(existence: found, headline: headline, tasks: answers)
    }
  }

  private var parts: Int { tasks.isEmpty ? 2 : 3 }

  /// The oracle at the densities of everything else, and the plan, through every task.
  private func asked(
    _ model: LanguageModel, _ folder: String, _ sparsity: Sparsity?,
    _ method: ExistenceReport.Method, label: String
  ) throws -> SweepReport? {
    guard !tasks.isEmpty else { return nil }
    var work = SweepWork()
    (work.tasks, work.shots, work.limit) = (tasks, [0], limit)
    var points: [SweepPoint] = []
    for (part, density) in [
      (SweepPart.mlp, method.neuronDensity.value), (.heads, method.headDensity.value),
    ] {
      var grid = SweepGrid()
      (grid.selectors, grid.parts, grid.densities) = ([.oracle], [part], [density ?? 1])
      points += try grid.points(model: model, folder: folder).points
    }
    if let sparsity {
      points.append(SweepPoint(ComparedSubject("plan \(sparsity.plan.name)", sparsity: sparsity)))
    }
    let bar = ProgressBar(label, isShown: !existence.isQuiet, unit: .steps)
    defer { bar.finish() }
    let rows = try SweepRun(model: model, points: points, work: work).run {
      bar.update(done: $0, of: $1)
    }
    return SweepReport(
      rows: rows, work: work, notes: [], model: folder, fingerprint: model.loaded.fingerprint,
      synthetic: model.loaded.isSynthetic,
      provenance: Provenance(
        model: model, cpu: CPUOptions(threads: existence.threads),
        version: DejaVuCommand.configuration.version))
  }

  private func headline(
    of model: LanguageModel, _ sparsity: Sparsity, text: EvaluationText, label: String
  ) throws -> Headline {
    let sample = try Evaluate.sample(text, model, windows: windows, length: length)
    let name = sparsity.plan.name
    let evaluation = PlanEvaluation(
      engine: model.engine, subjects: [.exact, ComparedSubject(name, sparsity: sparsity)])
    let bar = ProgressBar(label, isShown: !existence.isQuiet, unit: .steps)
    defer { bar.finish() }
    let runs = try evaluation.run(windows: sample.windows) { bar.update(done: $0, of: $1) }
    return Headline(runs: runs, plan: name, windows: sample.windows, threads: existence.threads)
  }
}
