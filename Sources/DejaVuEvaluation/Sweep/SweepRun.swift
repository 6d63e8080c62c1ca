package import DejaVu
import DejaVuCore
import DejaVuFormats
import DejaVuModels

/// What a sweep reads and how much of it.
package struct SweepWork: Sendable {
  /// Read in batches, selectors acting at every position.
  package var promptWindows: [[TokenID]] = []
  /// Read token by token, with deferred keys: quality that generation has, and the speed.
  package var decodeWindows: [[TokenID]] = []
  package var tasks: [TaskFile] = []
  /// Solved items in front of each question, one pass for each number.
  package var shots = [0, 5]
  package var limit: Int? = 200
  package var seed: UInt64 = 1

  package init() {}

  func options(shots: Int) -> TaskOptions {
    var options = TaskOptions()
    (options.shots, options.limit, options.seed) = (shots, limit, seed)
    return options
  }
}

/// Goes through the points of a sweep, several at a time beside one dense run.
package final class SweepRun {
  private let model: LanguageModel
  private let points: [SweepPoint]
  private let work: SweepWork
  private let journal: ScoreJournal
  private let build: String
  private var done = 0
  private var total = 0
  /// Points that take turns with one dense run: more would share its time but need a cache each.
  private static let group = 8
  /// What a token costs through decode, by what it costs in a batch; for the remaining time only.
  private static let decodeWeight = 5

  /// - Parameters:
  ///   - model: the model.
  ///   - points: dense rows are measured beside them.
  ///   - work: texts and tasks.
  ///   - journal: what was measured before; grows by what is measured now.
  ///   - build: names the program's code in the journal.
  package init(
    model: LanguageModel, points: [SweepPoint], work: SweepWork, journal: ScoreJournal? = nil,
    build: String = ""
  ) {
    (self.model, self.points, self.work, self.build) = (model, points, work, build)
    self.journal = journal ?? ScoreJournal()
  }

  /// Runs on the calling thread.
  ///
  /// - Parameter progress: called with work done and to do, what the journal holds left out.
  /// - Returns: dense and then every point.
  /// - Throws: ``BackendError`` or ``TaskError``.
  package func run(progress: @escaping (Int, Int) -> Void = { _, _ in }) throws -> [SweepRow] {
    let groups = stride(from: 0, to: points.count, by: Self.group).map {
      Array(points[$0..<min($0 + Self.group, points.count)])
    }
    let tasks = try groups.map { group in
      try work.tasks.isEmpty ? [] : work.shots.map { try taskRun(group, shots: $0) }
    }
    total = groups.reduce(0) { $0 + textCost(of: $1) }
    // Dense answers are given once, in the first group.
    for (index, runs) in tasks.enumerated() {
      let columns = (index == 0 ? 0 : 1)..<(groups[index].count + 1)
      total += runs.reduce(0) { $0 + $1.tokensToScore(columns) }
    }
    done = 0
    var rows: [SweepRow] = []
    for (group, runs) in zip(groups, tasks) {
      let prompt = try windows(of: group, path: .prompt, progress)
      let decode = try windows(of: group, path: .decode, progress)
      var found: [[SweepTaskRow]] = Array(repeating: [], count: group.count + 1)
      for (shots, run) in zip(work.shots, runs) {
        let before = done
        let results = try run.run { now, _ in
          self.done = before + now
          progress(self.done, self.total)
        }
        for column in found.indices {
          found[column] += results.map { SweepTaskRow($0, column: column, shots: shots) }
        }
      }
      if rows.isEmpty {
        rows.append(SweepRow(dense: prompt.dense, decode.dense, tasks: found[0]))
      }
      for (index, point) in group.enumerated() {
        rows.append(
          SweepRow(
            point, prompt: prompt.points[index], decode: decode.points[index],
            tasks: found[index + 1]))
      }
    }
    return rows
  }

  private func taskRun(_ group: [SweepPoint], shots: Int) throws(TaskError) -> TaskRun {
    let columns =
      [TaskColumn(.dense, positions: .everywhere, path: .prompt)]
      + group.map { TaskColumn($0.subject, positions: .everywhere, path: .prompt) }
    return try TaskRun(
      model: model, files: work.tasks, columns: columns, options: work.options(shots: shots),
      journal: journal, build: build)
  }

  // Windows of text -------------------------------------------------------------------------------

  private func texts(_ path: ScoringPath) -> [[TokenID]] {
    path == .prompt ? work.promptWindows : work.decodeWindows
  }

  /// A point's keys of all windows.
  private func keys(_ point: SweepPoint, _ path: ScoringPath) -> [String] {
    let column = TaskColumn(point.subject, positions: .everywhere, path: path)
      .digest(model: model, build: build)
    return texts(path).map { window in
      var digest = SHA256()
      digest.update("\(column) window \(window.map(String.init).joined(separator: ","))".utf8)
      return digest.hexDigest()
    }
  }

  private func textCost(of group: [SweepPoint]) -> Int {
    ScoringPath.allCases.reduce(0) { sum, path in
      let keys = group.map { self.keys($0, path) }
      return texts(path).indices.reduce(sum) { sum, index in
        let missing = keys.count { journal.window($0[index]) == nil }
        return sum + cost(of: texts(path)[index], missing: missing, path)
      }
    }
  }

  /// Nothing where nothing is missing, else a dense run beside those that are.
  private func cost(of window: [TokenID], missing: Int, _ path: ScoringPath) -> Int {
    missing == 0
      ? 0 : (missing + 1) * window.count * (path == .decode ? Self.decodeWeight : 1)
  }

  /// Reads all windows by the points that have not read them yet.
  private func windows(
    of group: [SweepPoint], path: ScoringPath, _ progress: (Int, Int) -> Void
  ) throws -> (dense: [ComparedWindow], points: [[ComparedWindow]]) {
    let keys = group.map { self.keys($0, path) }
    let denseKeys = self.keys(SweepPoint(.dense), path)
    for (index, window) in texts(path).enumerated() {
      let missing = group.indices.filter { journal.window(keys[$0][index]) == nil }
      let runsDense = journal.window(denseKeys[index]) == nil
      guard !missing.isEmpty || runsDense else { continue }
      // Names need not be unique across points, so runs are told apart by their order.
      let evaluation = PlanEvaluation(
        engine: model.engine, subjects: missing.map { group[$0].subject }, path: path)
      let before = done
      let cost = cost(of: window, missing: missing.count, path)
      let runs = try evaluation.run(windows: [window]) { now, all in
        self.done = before + cost * now / max(all, 1)
        progress(self.done, self.total)
      }
      done = before + cost
      if runsDense {
        try journal.append(ComparedWindow(runs[0], against: runs[0]), for: denseKeys[index])
      }
      for (run, place) in zip(runs.dropFirst(), missing) {
        try journal.append(ComparedWindow(run, against: runs[0]), for: keys[place][index])
      }
    }
    return (
      denseKeys.compactMap { journal.window($0) }, keys.map { $0.compactMap { journal.window($0) } }
    )
  }
}
