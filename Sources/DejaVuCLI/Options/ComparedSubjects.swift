import DejaVu
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels

/// Makes the ways to choose rows that the user wants compared.
struct ComparedSubjects {
  let model: LanguageModel
  let folder: String
  let options: ComparisonOptions
  let output: OutputOptions

  /// Windows that selectors learn from: 32 of 512 tokens.
  static func lesson(_ text: EvaluationText?, _ model: LanguageModel) -> [[TokenID]] {
    text.map {
      CalibrationText(
        text: $0, model: model, count: 32, length: min(512, model.architecture.context)
      ).windows
    } ?? []
  }

  /// Exact and the plan, or the selectors in the order asked for.
  ///
  /// - Throws: ``PlanError``, ``SelectorError``, ``PredictorError``, or ``BackendError``.
  func make(calibration: EvaluationText?) throws -> [ComparedSubject] {
    if let choice = try plan() {
      if let warning = choice.warning { Terminal.error.writeLine("warning: \(warning)") }
      let sparse = choice.sparsity.map { ComparedSubject($0.plan.name, sparsity: $0) }
      return [.exact] + [sparse].compactMap { $0 }
    }
    var wanted = SelectorFactory.Options()
    wanted.mlpDensity = options.mlpDensity ?? 1
    wanted.headDensity = options.headDensity ?? 1
    wanted.calibration = Self.lesson(calibration, model)
    let bar = ProgressBar("learning", isShown: !output.quiet, unit: .steps)
    let factory = SelectorFactory(model: model, folder: folder, options: wanted) {
      bar.update(done: $0, of: $1)
    }
    defer { bar.finish() }
    return try (options.selectors ?? []).map { kind in
      guard let factory else { throw SelectorError.notOnCPU(kind) }
      return try factory.subject(kind)
    }
  }

  /// The plan that is compared, if one is.
  private func plan() throws -> SparsityChoice? {
    if let density = options.density {
      return try .density(density, model: model, folder: folder)
    }
    return try options.plan.map { try .plan($0, model: model, folder: folder) }
  }
}
