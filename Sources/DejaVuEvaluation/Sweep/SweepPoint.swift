package import DejaVu
import DejaVuCore
import DejaVuModels

/// Which rows a point of a sweep leaves out.
package enum SweepPart: String, Codable, Hashable, Sendable, CaseIterable {
  case mlp, heads, both
}

/// One way to choose rows at one density.
package struct SweepPoint: Sendable {
  package let subject: ComparedSubject
  /// nil of a stored plan and of exact rows, which have densities of their own.
  package let part: SweepPart?
  package let density: Double?

  package init(_ subject: ComparedSubject, part: SweepPart? = nil, density: Double? = nil) {
    (self.subject, self.part, self.density) = (subject, part, density)
  }
}

/// What a sweep goes through.
package struct SweepGrid: Sendable {
  package var selectors: [SelectorKind] = []
  package var densities = [0.1, 0.25, 0.5, 0.75]
  package var parts = SweepPart.allCases
  package var seed: UInt64 = 1
  /// What selectors learn from.
  package var calibration: [[TokenID]] = []
  /// Texts of tasks, by name, that static sets learn from one at a time.
  package var taskLessons: [(task: String, windows: [[TokenID]])] = []

  package init() {}

  /// Every point of the grid, by selector, part and density.
  ///
  /// - Parameters:
  ///   - model: the model, on the CPU.
  ///   - folder: where its predictors lie.
  ///   - progress: called with tokens learned from and their total, for one selector after the other.
  /// - Returns: the points, and sentences about selectors that this model or text has nothing for.
  /// - Throws: ``SelectorError/notOnCPU(_:)``, ``PredictorError``, ``BackendError``.
  package func points(
    model: LanguageModel, folder: String, progress: @escaping (Int, Int) -> Void = { _, _ in }
  ) throws -> (points: [SweepPoint], notes: [String]) {
    var options = SelectorFactory.Options()
    (options.calibration, options.seed) = (calibration, seed)
    guard
      let factory = SelectorFactory(
        model: model, folder: folder, options: options, progress: progress)
    else { throw SelectorError.notOnCPU(selectors.first ?? .oracle) }
    var (points, notes): ([SweepPoint], [String]) = ([], [])
    for kind in selectors where kind != .dense {
      guard kind != .exact else {
        points.append(SweepPoint(.exact))
        continue
      }
      for (part, density, factory) in cells(factory) {
        do {
          points.append(SweepPoint(try factory.subject(kind), part: part, density: density))
        } catch let error as SelectorError {
          let note = "\(kind.rawValue), \(part.rawValue): \(error.cause)"
          if !notes.contains(note) { notes.append(note) }
        }
      }
    }
    for lesson in taskLessons {
      let mass = try factory.mass(of: lesson.windows)
      for (part, density, factory) in cells(factory) {
        let subject = factory.subject(static: "static, \(lesson.task)", by: mass)
        points.append(SweepPoint(subject, part: part, density: density))
      }
    }
    return (points, notes)
  }

  private func cells(
    _ factory: SelectorFactory
  ) -> [(SweepPart, Double, SelectorFactory)] {
    parts.flatMap { part in
      densities.filter { $0 < 1 }.map { density in
        (
          part, density,
          factory.with(
            mlpDensity: part == .heads ? 1 : density, headDensity: part == .mlp ? 1 : density)
        )
      }
    }
  }
}

extension SelectorError {
  /// Why a sweep goes on without a selector.
  fileprivate var cause: String {
    switch self {
    case .axisNotChosen(_, let axis): "it cannot choose \(axis.rawValue)"
    case .notTrained(_, let axis, _): "no trained predictors of \(axis.rawValue) for every layer"
    case .noCalibration: "no calibration text"
    case .nothingToChoose: "every row fits the density"
    case .notOnCPU: "it runs on the CPU only"
    }
  }
}
