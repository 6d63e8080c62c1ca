import DejaVu
import DejaVuEvaluation
import DejaVuModels

/// What `dejavu report` measures of every model.
struct ReportRun {
  let existence: ExistenceRun
  /// What quality and speed are measured on.
  let windows: Int
  let length: Int?

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
        try self.headline(of: model, $0, text: measured, label: "1 of 2, quality and speed" + place)
      }
      let found = try existence.report(
        of: model, in: folder, measured, learned, sparsity: sparsity,
        label: "2 of 2, looking for sparsity" + place)
      return SparsityReport.Model(existence: found, headline: headline)
    }
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
