package import DejaVu
import DejaVuCore
import DejaVuFormats
package import DejaVuModels

/// One way to answer the items of a task: what runs, where in a text, and through which path.
package struct TaskColumn: Sendable {
  package let subject: ComparedSubject
  /// Where the subject's rows are chosen; a dense one has no choice.
  package let positions: ActingPositions
  package let path: ScoringPath

  package init(_ subject: ComparedSubject, positions: ActingPositions, path: ScoringPath) {
    self.subject = subject
    self.positions = positions
    self.path = path
  }

  package var name: String { subject.name }

  /// Dense, and each of `subjects` acting everywhere and behind a dense context.
  package static func columns(of subjects: [ComparedSubject], path: ScoringPath) -> [TaskColumn] {
    [TaskColumn(.dense, positions: .everywhere, path: path)]
      + subjects.filter { $0.mode != .dense }.flatMap { subject in
        ActingPositions.allCases.map { TaskColumn(subject, positions: $0, path: path) }
      }
  }

  /// A digest of everything that decides the scores of a text beside its tokens.
  ///
  /// - Parameters:
  ///   - model: whose weights and kernels run.
  ///   - build: names the program's code; another one may score otherwise.
  /// - Returns: 64 hexadecimal digits.
  package func digest(model: LanguageModel, build: String) -> String {
    var digest = SHA256()
    var parts = [
      "dejavu-task-scores/1", build, model.loaded.fingerprint, model.loaded.model.format.name,
      String(describing: model.engine.backend), subject.mode.rawValue, positions.rawValue,
      path.rawValue, String(subject.defersKeys),
    ]
    if let sparsity = subject.sparsity { parts.append(PlanText.text([sparsity.plan])) }
    for part in parts { digest.update(Array(part.utf8) + [0]) }
    // Shadows follow from the weights; trained and fitted choosers do not.
    let choosers = (subject.sparsity?.choosers ?? [:]).filter { !$0.key.isShadow }
    for (site, weights) in choosers.sorted(by: { $0.key.order < $1.key.order }) {
      digest.update(site.order.utf8)
      weights.forEachBuffer { digest.update($0) }
    }
    return digest.hexDigest()
  }
}

extension ChooserSite {
  fileprivate var isShadow: Bool { if case .lowRank = kind { false } else { true } }
  fileprivate var order: String { "\(layer) \(axis.rawValue) \(kind)" }
}

extension ChooserWeights {
  /// All bytes that decide the chooser's scores.
  fileprivate func forEachBuffer(_ body: (UnsafeRawBufferPointer) -> Void) {
    for matrix in [first, second].compactMap({ $0 }) {
      body(UnsafeRawBufferPointer(start: matrix.base, count: matrix.byteCount))
    }
    for vector in [bias, gain].compactMap({ $0 }) {
      body(UnsafeRawBufferPointer(start: vector.base, count: vector.count * 4))
    }
  }
}
