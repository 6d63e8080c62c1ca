import Foundation

/// What a sweep found: selectors by part and density, with perplexity, tasks, speed and bytes.
package struct SweepReport: Codable, Hashable, Sendable {
  package static let schema = "dejavu/eval-sweep/1"

  package var schema = Self.schema
  package var model: String
  package var fingerprint: String
  package var synthetic: Bool
  package var commit: String?
  package var version: String
  package var machine: Provenance.MachineUsed
  /// Tokens of a window; null without a text.
  package var length: Int?
  /// Whose prompts and scores tasks follow.
  package var prompts: String
  package var shots: [Int]
  package var limit: Int?
  package var seed: UInt64
  package var tasks: [Task]
  /// Dense first.
  package var rows: [SweepRow]
  /// Averages over the tasks of a row.
  package var averages: [Average]
  package var notes: [String]

  package struct Task: Codable, Hashable, Sendable {
    package var task: String
    package var file: String
    package var fileDigest: String
  }

  /// Of one row of `rows`, by its place there.
  package struct Average: Codable, Hashable, Sendable {
    package var row: Int
    package var shots: Int
    /// Mean accuracy over all tasks.
    package var accuracy: Figure
    /// The same over tasks on which the dense row is more than two standard errors above chance.
    package var informativeAccuracy: Figure
    package var informativeTasks: Int
  }

  package init(
    rows: [SweepRow], work: SweepWork, notes: [String], model: String, fingerprint: String,
    synthetic: Bool, provenance: Provenance
  ) {
    (self.rows, self.notes, self.model) = (rows, notes, model)
    (self.fingerprint, self.synthetic) = (fingerprint, synthetic)
    (commit, version, machine) = (provenance.commit, provenance.version, provenance.machine)
    length = (work.decodeWindows.first ?? work.promptWindows.first)?.count
    prompts = "lm-evaluation-harness \(TaskName.harness)"
    shots = work.tasks.isEmpty ? [] : work.shots
    (limit, seed) = (work.limit, work.seed)
    tasks = work.tasks.map { Task(task: $0.name, file: $0.path, fileDigest: $0.digest) }
    averages = []
    for shots in self.shots {
      let informative = Set(rows[0].tasks(shots: shots).filter(\.informative).map(\.task))
      for (index, row) in rows.enumerated() {
        let all = row.tasks(shots: shots)
        averages.append(
          Average(
            row: index, shots: shots, accuracy: Self.mean(all),
            informativeAccuracy: Self.mean(all.filter { informative.contains($0.task) }),
            informativeTasks: informative.count))
      }
    }
  }

  private static func mean(_ rows: [SweepTaskRow]) -> Figure {
    let values = rows.compactMap(\.accuracy.value)
    return Figure(values.isEmpty ? nil : values.reduce(0, +) / Double(values.count))
  }

  package func average(row: Int, shots: Int) -> Average? {
    averages.first { $0.row == row && $0.shots == shots }
  }

  /// One line of JSON, keys in alphabetical order.
  package func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }

  /// - Throws: ``ReportError/notSweep(_:)`` for a file of anything else.
  package init(json: [UInt8]) throws(ReportError) {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let found: Self
    do { found = try decoder.decode(Self.self, from: Data(json)) } catch {
      throw .notSweep("\(error)")
    }
    guard found.schema == Self.schema, !found.rows.isEmpty else {
      throw .notSweep("its schema is '\(found.schema)', not '\(Self.schema)', or it has no rows")
    }
    self = found
  }
}

extension SweepReport {
  /// Tables for people.
  package var text: String {
    var lines = [
      "\(model): \(rows.count - 1) points beside dense, \(machine.threads) "
        + "thread\(machine.threads == 1 ? "" : "s"), \(machine.processor)"
    ]
    if rows.contains(where: { $0.prompt != nil || $0.decode != nil }) {
      lines += ["", qualityTable.text]
    }
    for shots in shots {
      lines += [
        "\(shots == 0 ? "no examples" : "\(shots) examples"), up to "
          + "\(limit.map { "\($0)" } ?? "all") items of a task, seed \(seed); "
          + "* within two standard errors of chance: no evidence", taskTable(shots: shots).text,
      ]
    }
    return (lines + notes.map { "left out: \($0)" }).joined(separator: "\n")
  }

  private static func place(_ row: SweepRow) -> [String] {
    [
      row.selector, row.part?.rawValue ?? "-",
      row.density.value.map { Figure($0).percent } ?? "-",
    ]
  }

  var qualityTable: TextTable {
    var table = TextTable(
      [.word("rows chosen by"), .word("part"), .number("density")]
        + ["prompt", "decode"].flatMap { path in
          [
            .number("\(path): perplexity"), .number("against dense"), .number("±"),
            .number("KL, nats"), .number("same"),
          ]
        } + [
          .number("neurons"), .number("heads"), .number("tokens/s"), .number("speed"),
          .number("bytes"), .number("MLP bytes"),
        ])
    table.rows = rows.map { row in
      let decode = row.decode
      let read = decode ?? row.prompt
      return Self.place(row) + Self.cells(row.prompt) + Self.cells(decode) + [
        read?.neuronDensity.percent ?? "-", read?.headDensity.percent ?? "-",
        decode?.tokensPerSecond.text(1) ?? "-", decode?.speedupOverDense.text(2) ?? "-",
        decode?.byteShare.percent ?? "-", decode?.mlpByteShare.percent ?? "-",
      ]
    }
    return table
  }

  private static func cells(_ quality: SweepQuality?) -> [String] {
    guard let quality else { return Array(repeating: "-", count: 5) }
    return [
      quality.perplexity.text(3), Headline.signed(quality.perplexityIncrease),
      Headline.percent(quality.standardError), quality.divergence.text(4),
      quality.sameChoice.percent,
    ]
  }

  func taskTable(shots: Int) -> TextTable {
    var table = TextTable(
      [.word("rows chosen by"), .word("part"), .number("density")]
        + tasks.map { .number($0.task) } + [.number("average"), .number("informative ones")])
    table.rows = rows.enumerated().map { index, row in
      let found = row.tasks(shots: shots)
      let average = average(row: index, shots: shots)
      let cells = tasks.map { task in
        found.first { $0.task == task.task }.map {
          $0.accuracy.percent + ($0.informative ? "" : "*")
        } ?? "-"
      }
      return Self.place(row) + cells
        + [average?.accuracy.percent ?? "-", average?.informativeAccuracy.percent ?? "-"]
    }
    return table
  }
}
