import DejaVu
import DejaVuEvaluation
import DejaVuModels

/// `dejavu eval` with --plan, --selectors or --streams: several ways to read one sample of a text.
struct ComparisonRun {
  let subject: EvaluationSubject
  let path: ScoringPath
  let options: ComparisonOptions
  let output: OutputOptions
  let sample: CalibrationText

  private var model: LanguageModel { subject.model }
  private var folder: String { subject.folder }

  func compare(calibration: EvaluationText?) throws {
    // What cannot be read or written is better known before measuring than after.
    let earlier = try options.beside.flatMap { try EarlierRuns(path: $0, like: sample).runs }
    let drawing = try options.plot.map { try AtomicFile(path: $0) }
    let subjects = ComparedSubjects(
      model: model, folder: folder, options: options, output: output)
    let asked = try subjects.make(calibration: calibration)
    let extra = options.eagerKeys ? asked.compactMap(\.withEagerKeys) : []
    let bar = ProgressBar("evaluating", isShown: !output.quiet, unit: .steps)
    let evaluation = PlanEvaluation(engine: model.engine, subjects: asked + extra, path: path)
    let runs = try evaluation.run(windows: sample.windows) { bar.update(done: $0, of: $1) }
    bar.finish()
    let report = ComparisonReport(
      runs: runs, figures: try figures(of: asked), subjects: asked, isPlan: options.isPlan,
      showsSpeed: options.speed, folder: folder, loaded: model.loaded,
      provenance: subject.provenance, path: path, windows: sample.windows)
    if let drawing {
      var text = TradeoffPlot(report.tradeoff + earlier).svg
      try text.withUTF8 { try drawing.append(UnsafeRawBufferPointer($0)) }
      try drawing.commit()
    }
    try StandardOutput.write((output.json ? report.json.description : report.text) + "\n")
  }

  /// How the sets of sparse runs compare with the oracle's, by name.
  private func figures(of subjects: [ComparedSubject]) throws -> [String: SetFigures] {
    guard let probe = SetProbe(engine: model.engine) else { return [:] }
    let sparse = subjects.filter { $0.sparsity != nil }
    let total = sample.windows.joined().count * sparse.count
    let bar = ProgressBar("comparing sets", isShown: !output.quiet, unit: .steps)
    defer { bar.finish() }
    var (figures, done) = ([String: SetFigures](), 0)
    for subject in sparse {
      guard let sparsity = subject.sparsity else { continue }
      figures[subject.name] = try probe.figures(of: sparsity, windows: sample.windows) {
        done += $0
        bar.update(done: done, of: total)
      }
    }
    return figures
  }

  func write(streams path: String) throws {
    let total = sample.windows.joined().count * model.architecture.layers
    let bar = ProgressBar("writing", isShown: !output.quiet, unit: .steps)
    var done = 0
    let dump = StreamDump(engine: model.engine, windows: sample.windows)
    guard let dump else { return }
    try dump.write(to: path, fingerprint: model.loaded.fingerprint) {
      done += $0
      bar.update(done: done, of: total)
    }
    bar.finish()
    let report = JSONValue.object(
      [
        ("schema", "dejavu/eval-streams/1"), ("model", .text(folder)),
        ("fingerprint", .text(model.loaded.fingerprint)),
      ] + subject.provenance.members + [
        ("path", .text(path)), ("layers", .whole(model.architecture.layers)),
        ("tokens", .whole(dump.tokens)),
      ])
    let text = "\(dump.tokens) tokens of \(model.architecture.layers) layers written to \(path)"
    try StandardOutput.write((output.json ? report.description : text) + "\n")
  }
}
