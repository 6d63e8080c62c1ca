import ArgumentParser
import DejaVu
import DejaVuEvaluation
import DejaVuModels

/// `dejavu eval --tasks`: a model answers questions, dense and in the ways that are to be compared.
struct TaskCommand {
  let subject: EvaluationSubject
  let path: ScoringPath
  let arguments: TaskArguments
  let comparison: ComparisonOptions
  let output: OutputOptions

  private var model: LanguageModel { subject.model }
  private var folder: String { subject.folder }

  func answer(_ files: [TaskFile], calibration: EvaluationText?) throws {
    let earlier = try arguments.against.map { try EarlierResult(path: $0) }
    try earlier?.check(files, options: arguments.options)
    let journal = try arguments.journal.map { try ScoreJournal(path: $0) }
    let run = try TaskRun(
      model: model, files: files, columns: try columns(calibration), options: arguments.options,
      journal: journal, build: subject.provenance.build)
    let bar = ProgressBar("answering", isShown: !output.quiet, unit: .steps)
    let results = try Interrupt.endingAtOnce {
      try run.run { bar.update(done: $0, of: $1) }
    }
    bar.finish()
    let report = TaskReport(
      results: results, options: arguments.options, folder: folder, loaded: model.loaded,
      provenance: subject.provenance, path: path,
      comparisons: try earlier?.comparisons(with: results, options: arguments.options) ?? [])
    try StandardOutput.write((output.json ? report.json.description : report.text) + "\n")
  }

  /// Dense and what is compared with it; exact gives the dense answers, and is asked for itself only.
  private func columns(_ calibration: EvaluationText?) throws -> [TaskColumn] {
    guard comparison.isAsked else { return TaskColumn.columns(of: [], path: path) }
    let subjects = ComparedSubjects(
      model: model, folder: folder, options: comparison, output: output)
    let made = try subjects.make(calibration: calibration)
    return TaskColumn.columns(
      of: comparison.isPlan ? made.filter { $0.mode == .sparse } : made, path: path)
  }
}
