import ArgumentParser
import DejaVuEvaluation
import DejaVuModels

/// What `eval --tasks` asks.
struct TaskArguments: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      Answer these tasks, with a comma between them, or 'all' that have data: \
      \(TaskName.allCases.map(\.rawValue).joined(separator: ", ")), or a file NAME.jsonl of your own.
      """, valueName: "names"),
    transform: TaskArguments.names)
  var tasks: [String]?

  @Option(
    help: ArgumentHelp("Folder with the tasks' files, as published.", valueName: "folder"),
    completion: .directory)
  var taskData: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Solved items in front of each question (0 to 32; default: 0).", valueName: "count"),
    transform: Numbers.whole(TaskOptions.shotRange))
  var shots: Int?

  @Option(
    help: ArgumentHelp(
      "Seeded items of each task, or 'all' (default: 200).", valueName: "count|all"))
  var limit: TaskLimit?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Of the items and the examples (default: 1).", valueName: "number"),
    transform: Numbers.whole(0...Int.max))
  var seed: Int?

  @Option(
    help: ArgumentHelp(
      "Keep the scores of every item, and a sweep's windows, in this file, and take those that it holds.",
      valueName: "file"))
  var journal: String?

  @Option(
    help: ArgumentHelp(
      "Compare with an earlier result, written with --json, item by item.", valueName: "file"))
  var against: String?

  func validate() throws {
    guard tasks == nil else {
      if taskData == nil {
        throw ValidationError("tasks are read from files; add --task-data FOLDER")
      }
      return
    }
    let others: [(String, Bool)] = [
      ("task-data", taskData != nil), ("shots", shots != nil), ("limit", limit != nil),
      ("seed", seed != nil), ("against", against != nil),
    ]
    if let (name, _) = others.first(where: { $0.1 }) {
      throw ValidationError("--\(name) is for tasks; add --tasks")
    }
  }

  /// The tasks' files.
  ///
  /// - Throws: ``TaskError``.
  func files() throws(TaskError) -> [TaskFile] {
    try Self.files(tasks ?? [], in: taskData ?? ".")
  }

  /// Tasks by their names, or all that have data.
  ///
  /// - Throws: ``TaskError``.
  static func files(_ tasks: [String], in folder: String) throws(TaskError) -> [TaskFile] {
    var files: [TaskFile] = []
    if tasks == ["all"] {
      for task in TaskName.allCases {
        do { files.append(try TaskFile.open(task.rawValue, in: folder)) } catch .noData { continue }
      }
      guard files.isEmpty else { return files }
      throw .noData(
        task: "all", folder: folder, wanted: TaskName.allCases.map { $0.rawValue + ".jsonl" })
    }
    for name in tasks { files.append(try TaskFile.open(name, in: folder)) }
    return files
  }

  var options: TaskOptions {
    var options = TaskOptions()
    options.shots = shots ?? options.shots
    options.limit = limit.map(\.count) ?? options.limit
    options.seed = seed.map { UInt64($0) } ?? options.seed
    return options
  }

  @Sendable
  private static func names(_ text: String) throws -> [String] {
    var names: [String] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let name = String(part)
      guard !name.isEmpty, !name.contains("/") else {
        throw ValidationError("'\(name)' is no name of a task")
      }
      let full = TaskName(named: name)?.rawValue ?? name
      if !names.contains(full) { names.append(full) }
    }
    return names
  }
}

/// What `--limit` may say.
struct TaskLimit: Hashable, ExpressibleByArgument {
  /// nil is all.
  let count: Int?

  init?(argument: String) {
    if argument == "all" {
      count = nil
    } else {
      guard let number = Int(argument), number >= 1 else { return nil }
      count = number
    }
  }
}
