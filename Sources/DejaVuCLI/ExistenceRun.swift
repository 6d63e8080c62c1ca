import DejaVu
import DejaVuCPU
import DejaVuEvaluation
import DejaVuModels

/// What `dejavu inspect --sparsity` does for every model that it is given.
struct ExistenceRun {
  let text: String
  let calibration: String?
  let plan: String?
  let threads: Int
  let isQuiet: Bool

  /// Measures one model after the other.
  ///
  /// - Throws: what reading texts and models throws, and ``PlanError`` for a plan that is not there.
  func reports(folders: [String]) throws -> [ExistenceReport] {
    let measured = try EvaluationText.contents(of: text)
    let learned = try calibration.map { try EvaluationText.contents(of: $0) }
    return try folders.map { try report(folder: $0, measured, learned) }
  }

  private func report(
    folder: String, _ measured: EvaluationText, _ learned: EvaluationText?
  ) throws -> ExistenceReport {
    let model = try load(folder)
    return try report(
      of: model, in: folder, measured, learned, sparsity: try sparsity(of: model, in: folder),
      label: "looking for sparsity")
  }

  func load(_ folder: String) throws -> LanguageModel {
    try LanguageModel(path: folder, backend: .cpu(CPUOptions(threads: threads)))
  }

  /// Measures a model that is loaded already.
  func report(
    of model: LanguageModel, in folder: String, _ measured: EvaluationText,
    _ learned: EvaluationText?, sparsity: Sparsity?, label: String
  ) throws -> ExistenceReport {
    let options = ExistenceOptions()
    let windows = try WindowSplit(
      text: measured, calibration: learned, model: model, options: options)
    let study = try ExistenceStudy(
      model: model, folder: folder, windows: windows, sparsity: sparsity, options: options)
    let bar = ProgressBar(label, isShown: !isQuiet, unit: .steps)
    defer { bar.finish() }
    return try study.run { bar.update(done: $0, of: $1) }
  }

  /// The plan that was named, or the one that generation would take; nil where there is none.
  func sparsity(of model: LanguageModel, in folder: String) throws -> Sparsity? {
    if let plan { return try SparsityChoice.plan(plan, model: model, folder: folder).sparsity }
    guard let store = try SparsityStore.open(model: model.loaded, folder: folder),
      let affordable = SparsityChoice.affordable(store.plans), let backend = model.engine.cpu
    else { return nil }
    return try store.resolve(affordable, on: backend)
  }
}
