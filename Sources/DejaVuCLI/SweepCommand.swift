import DejaVu
import DejaVuEvaluation
import DejaVuModels

/// `dejavu eval --sweep`: selectors at many densities, on texts and tasks.
struct SweepCommand {
  let subject: EvaluationSubject
  let arguments: SweepArguments
  let tasks: TaskArguments
  let comparison: ComparisonOptions
  let output: OutputOptions

  private var model: LanguageModel { subject.model }

  /// - Parameters:
  ///   - text: what perplexity is measured on.
  ///   - files: tasks that are asked.
  ///   - calibration: what selectors learn from.
  ///   - windows: how many of `text` are read in either path; nil reads all in batches and 16 by decode.
  ///   - all: whether decode reads them all as well.
  ///   - length: tokens of a window.
  /// - Throws: what measuring throws.
  func run(
    text: EvaluationText?, files: [TaskFile], calibration: EvaluationText?, windows: Int?,
    all: Bool, length: Int?
  ) throws {
    var work = SweepWork()
    if let text {
      let most = windows ?? .max
      work.promptWindows =
        try Evaluate.sample(text, model, windows: most, length: length).windows
      work.decodeWindows =
        try Evaluate.sample(text, model, windows: all ? .max : min(most, 16), length: length)
        .windows
    }
    (work.tasks, work.limit, work.seed) = (files, tasks.options.limit, tasks.options.seed)
    work.shots = tasks.shots.map { [$0] } ?? work.shots
    let journal = try tasks.journal.map { try ScoreJournal(path: $0) }
    let (points, notes) = try points(work, calibration)
    let run = SweepRun(
      model: model, points: points, work: work, journal: journal, build: subject.provenance.build)
    let bar = ProgressBar("sweeping", isShown: !output.quiet, unit: .steps)
    defer { bar.finish() }
    let rows = try Interrupt.endingAtOnce { try run.run { bar.update(done: $0, of: $1) } }
    bar.finish()
    let report = SweepReport(
      rows: rows, work: work, notes: notes, model: subject.folder,
      fingerprint: model.loaded.fingerprint, synthetic: model.loaded.isSynthetic,
      provenance: subject.provenance)
    try StandardOutput.write((output.json ? try report.json() : report.text) + "\n")
  }

  private func points(
    _ work: SweepWork, _ calibration: EvaluationText?
  ) throws -> ([SweepPoint], [String]) {
    var grid = SweepGrid()
    grid.selectors = comparison.selectors ?? SelectorKind.allCases.filter { $0 != .lowRank }
    grid.densities = arguments.densities ?? grid.densities
    grid.parts = arguments.parts ?? grid.parts
    grid.seed = work.seed
    grid.calibration = ComparedSubjects.lesson(calibration, model)
    var notes: [String] = []
    if arguments.taskStatic {
      for file in work.tasks {
        let lesson = try TaskLesson.windows(
          of: file, model: model, seed: work.seed, limit: work.limit)
        grid.taskLessons.append((file.name, lesson.windows))
        if !lesson.isApart {
          notes.append(
            "\(file.name) has too few items: static sets learn from those that are asked")
        }
      }
    }
    let bar = ProgressBar("learning", isShown: !output.quiet, unit: .steps)
    defer { bar.finish() }
    let made = try grid.points(model: model, folder: subject.folder) {
      bar.update(done: $0, of: $1)
    }
    return (try plan() + made.points, made.notes + notes)
  }

  /// The stored plan that stands beside the grid, if one is named.
  private func plan() throws -> [SweepPoint] {
    guard let name = comparison.plan else { return [] }
    let choice = try SparsityChoice.plan(name, model: model, folder: subject.folder)
    if let warning = choice.warning { Terminal.error.writeLine("warning: \(warning)") }
    return choice.sparsity.map {
      [SweepPoint(ComparedSubject("plan \($0.plan.name)", sparsity: $0))]
    } ?? []
  }
}
