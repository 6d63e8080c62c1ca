import DejaVuFormats
import DejaVuJSON

/// The items of a task, and those that its few-shot examples come from.
package struct TaskFile: Sendable {
  /// `piqa`, or what a plain file is called without its ending.
  package let name: String
  /// nil for plain multiple choice.
  package let task: TaskName?
  package let path: String
  /// SHA-256 of the items' file: items of one number in two runs are the same where this is.
  package let digest: String
  package let items: [TaskItem]
  /// Other items to take examples from; empty where the items themselves serve.
  package let training: [TaskItem]

  package init(
    name: String, task: TaskName?, path: String, digest: String = "", items: [TaskItem],
    training: [TaskItem] = []
  ) {
    self.name = name
    self.task = task
    self.path = path
    self.digest = digest
    self.items = items
    self.training = training
  }

  package var isNormalized: Bool { task?.isNormalized ?? true }

  /// Greatest size of a data file: the largest published one has 50 MB.
  private static let limit = 1 << 30

  /// Opens a task by name.
  ///
  /// - Parameters:
  ///   - name: a task, or a file `name.jsonl` of plain multiple choice.
  ///   - folder: where the data files lie.
  /// - Returns: all of its items, in the file's order.
  /// - Throws: ``TaskError``.
  package static func open(_ name: String, in folder: String) throws(TaskError) -> TaskFile {
    let task = TaskName(named: name)
    let files = task?.files ?? [name + ".jsonl"]
    guard let path = existing(files, folder) else {
      throw .noData(task: name, folder: folder, wanted: files)
    }
    let trainingFiles = task?.trainingFiles ?? [name + "-train.jsonl"]
    let training = existing(trainingFiles, folder)
    var digest = SHA256()
    digest.update(try bytes(path))
    return TaskFile(
      name: task?.rawValue ?? name, task: task, path: path, digest: digest.hexDigest(),
      items: try read(path, as: task),
      training: try training.map { path throws(TaskError) in try read(path, as: task) } ?? [])
  }

  private static func existing(_ files: [String], _ folder: String) -> String? {
    files.map { folder + "/" + $0 }.first { FileSystem.exists($0) }
  }

  private static func read(
    _ path: String, as task: TaskName?
  ) throws(TaskError) -> [TaskItem] {
    let rows =
      path.hasSuffix(".tsv")
      ? try table(try bytes(path), path: path) : try lines(try bytes(path), path: path)
    let labels = task == .piqa ? try labels(beside: path, for: rows) : nil
    var items: [TaskItem] = []
    for (index, row) in rows.enumerated() {
      let labelled = labels.map { row.labelled($0[index]) } ?? row
      let form: TaskItem.Form
      if let task {
        form = try TaskForms.form(task, labelled)
      } else {
        form = try TaskForms.plain(labelled)
      }
      items.append(TaskItem(index: index, form: form))
    }
    guard !items.isEmpty else { throw .empty(path: path) }
    return items
  }

  static func bytes(_ path: String) throws(TaskError) -> [UInt8] {
    do {
      let file = try MappedFile(path: path)
      guard file.bytes.count <= limit else {
        throw TaskError.unreadable(path: path, reason: "it is larger than a gigabyte")
      }
      return file.withBytes { Array($0) }
    } catch let error as TaskError {
      throw error
    } catch {
      throw .unreadable(path: path, reason: String(describing: error))
    }
  }

  /// One JSON object on each line; empty lines are passed over.
  static func lines(_ bytes: [UInt8], path: String) throws(TaskError) -> [TaskRow] {
    var rows: [TaskRow] = []
    let limits = JSONLimits(depth: 8, values: 100_000)
    for (index, line) in bytes.split(
      separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false
    ).enumerated() where !line.allSatisfy({ $0 == 0x20 || $0 == 0x0D || $0 == 0x09 }) {
      let json: JSON
      do throws(JSONError) {
        json = try JSON.parse(line, limits: limits)
      } catch {
        throw .malformed(path: path, line: index + 1, reason: error.description)
      }
      guard json.members != nil else {
        throw .malformed(
          path: path, line: index + 1, reason: "it holds \(json.kind), not an object")
      }
      rows.append(TaskRow(json: json, path: path, line: index + 1))
    }
    return rows
  }

  /// Columns named by the first line, parted by tabs, without quoting: GLUE's files.
  private static func table(_ bytes: [UInt8], path: String) throws(TaskError) -> [TaskRow] {
    let lines = bytes.split(separator: UInt8(ascii: "\n"))
    func cells(_ line: ArraySlice<UInt8>) -> [ByteString] {
      let text = line.last == 0x0D ? line.dropLast() : line
      return text.split(separator: 0x09, omittingEmptySubsequences: false).map {
        ByteString(Array($0))
      }
    }
    guard let names = lines.first.map(cells) else { throw .empty(path: path) }
    var rows: [TaskRow] = []
    for (index, line) in lines.dropFirst().enumerated() {
      let values = cells(line)
      guard values.count == names.count else {
        throw .malformed(
          path: path, line: index + 2, reason: "it has \(values.count) columns, not \(names.count)")
      }
      let members = zip(names, values).map { JSONMember(key: $0, value: .string($1)) }
      rows.append(TaskRow(json: .object(members), path: path, line: index + 2))
    }
    return rows
  }

  /// PIQA's authors keep labels in a file of their own: `valid.jsonl`, `valid-labels.lst`.
  private static func labels(
    beside path: String, for rows: [TaskRow]
  ) throws(TaskError) -> [Int]? {
    guard let first = rows.first, !first.has("label"), path.hasSuffix(".jsonl") else { return nil }
    let file = String(path.dropLast(6)) + "-labels.lst"
    guard FileSystem.exists(file) else { return nil }
    let words = String(decoding: try bytes(file), as: UTF8.self).split(whereSeparator: \.isNewline)
    let labels = words.compactMap { Int($0) }
    guard labels.count == words.count, labels.count == rows.count else {
      throw .malformed(
        path: file, line: min(labels.count, rows.count) + 1,
        reason: "it has \(labels.count) labels for \(rows.count) items")
    }
    return labels
  }
}

extension TaskRow {
  func labelled(_ label: Int) -> TaskRow {
    let member = JSONMember(key: "label", value: .number(JSONNumber(spelling: String(label))))
    return TaskRow(json: .object((json.members ?? []) + [member]), path: path, line: line)
  }
}
