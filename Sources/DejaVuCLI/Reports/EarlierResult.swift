import DejaVuEvaluation
import DejaVuFormats
import DejaVuJSON
import DejaVuModels

/// A result of `eval --tasks --json` that another run is held against.
struct EarlierResult {
  private let path: String
  private let tasks: [Task]
  private let shots: Int

  private struct Task {
    let name: String
    let digest: String
    let rows: [Row]
  }

  private struct Row {
    let selector: String
    let positions: String
    /// Whether an item was answered right, by its number in the file.
    let isRight: [Int: Bool]
  }

  /// A row of this run beside one of the earlier.
  struct Comparison {
    let task: String
    let row: String
    let earlier: String
    let positions: String
    let difference: PairedDifference

    var text: String {
      func percent(_ share: Double) -> String { Quantity.decimals(100 * share, 1) + " %" }
      return "\(task): \(row) less \(earlier), \(positions): \(percent(difference.mean)) "
        + "(\(percent(difference.lowest)) to \(percent(difference.highest))), "
        + "\(difference.items) items"
    }

    var json: JSONValue {
      [
        "task": .text(task), "selector": .text(row), "earlier_selector": .text(earlier),
        "positions": .text(positions), "difference": TaskReport.object(difference),
      ]
    }
  }

  /// - Throws: ``TaskError/noResult(path:reason:)``, and what reading throws.
  init(path: String) throws {
    self.path = path
    let json: JSON
    do {
      json = try JSON.parse(
        try InputFile.read(path), limits: JSONLimits(depth: 12, values: 1 << 24))
    } catch let error as JSONError {
      throw TaskError.noResult(path: path, reason: error.description)
    }
    guard json["schema"]?.text == "dejavu/eval-tasks/1", let shots = json["shots"]?.integer,
      let tasks = json["tasks"]?.elements
    else { throw TaskError.noResult(path: path, reason: "it has no schema dejavu/eval-tasks/1") }
    self.shots = shots
    self.tasks = tasks.compactMap(Self.task)
    guard self.tasks.count == tasks.count else {
      throw TaskError.noResult(path: path, reason: "a task lacks its name, digest or rows")
    }
  }

  private static func task(_ json: JSON) -> Task? {
    guard let name = json["task"]?.text, let digest = json["file_digest"]?.text,
      let rows = json["rows"]?.elements
    else { return nil }
    let read = rows.compactMap(row)
    return read.count == rows.count ? Task(name: name, digest: digest, rows: read) : nil
  }

  private static func row(_ json: JSON) -> Row? {
    guard let selector = json["selector"]?.text, let positions = json["positions"]?.text,
      let answers = json["answers"]?.elements
    else { return nil }
    var isRight: [Int: Bool] = [:]
    for answer in answers {
      guard let index = answer["index"]?.integer, let right = answer["right"]?.bool else {
        return nil
      }
      isRight[index] = right
    }
    return Row(selector: selector, positions: positions, isRight: isRight)
  }

  /// Looks, before anything is computed, whether a run will share a task with the result.
  ///
  /// - Throws: ``TaskError/nothingShared(first:second:)``.
  func check(_ files: [TaskFile], options: TaskOptions) throws(TaskError) {
    let isShared = files.contains { file in
      tasks.contains { $0.name == file.name && $0.digest == file.digest }
    }
    guard isShared, shots == options.shots else {
      throw .nothingShared(first: "this run", second: path)
    }
  }

  /// Every row of a run against the earlier row of its name and positions, or else the last one of
  /// its positions, on the items that both answered.
  ///
  /// - Throws: ``TaskError/nothingShared(first:second:)``.
  func comparisons(
    with results: [TaskResult], options: TaskOptions
  ) throws(TaskError) -> [Comparison] {
    var comparisons: [Comparison] = []
    for result in results {
      let task = tasks.first { $0.name == result.file.name && $0.digest == result.file.digest }
      guard let task, shots == options.shots else { continue }
      for (column, asked) in result.columns.enumerated() {
        let rows = task.rows.filter { $0.positions == asked.positions.rawValue }
        guard let row = rows.first(where: { $0.selector == asked.name }) ?? rows.last else {
          continue
        }
        let shared = result.answers(column).compactMap { answer in
          row.isRight[answer.item.index].map { (answer.isRight ? 1.0 : 0, $0 ? 1.0 : 0) }
        }
        guard !shared.isEmpty else { continue }
        comparisons.append(
          Comparison(
            task: task.name, row: asked.name, earlier: row.selector, positions: row.positions,
            difference: PairedDifference(shared.map(\.0), shared.map(\.1))))
      }
    }
    guard !comparisons.isEmpty else { throw .nothingShared(first: "this run", second: path) }
    return comparisons
  }
}
