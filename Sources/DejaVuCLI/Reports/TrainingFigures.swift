import DejaVuCore
import DejaVuModels
import DejaVuTraining

/// What `train` says when it is through.
struct TrainingFigures {
  private let report: TrainingReport
  private let model: String
  private let output: String
  private let fingerprint: String

  init(_ report: TrainingReport, model: String, output: String, fingerprint: String) {
    self.report = report
    self.model = model
    self.output = output
    self.fingerprint = fingerprint
  }

  /// A table for people.
  var text: String {
    let head = [
      "rows", "layer", "placement", "rank", "bits", "bytes", "share", "positives", "recall",
      "precision", "covered", "K98", "density98",
    ]
    let rows = report.rows.map(Self.cells)
    let widths = head.indices.map { column in
      ([head] + rows).map { $0[column].count }.max() ?? 0
    }
    func line(_ cells: [String]) -> String {
      zip(cells, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }
        .joined(separator: "  ") + "\n"
    }
    let documents = "\(report.trainingDocuments) documents, \(report.heldOutDocuments) held out"
    return line(head) + rows.map(line).joined()
      + "\(Quantity.grouped(report.tokens)) tokens of \(documents) "
      + "(scored on \(Quantity.grouped(report.heldOutTokens)) tokens), "
      + "\(Quantity.time(report.seconds))\(report.isResumed ? ", continued" : "")"
      + "\(report.isCutShort ? ", cut short by the time" : ""); written to \(output)\n"
      + phases.map { "\($0.name) \(Quantity.time($0.seconds))" }.joined(separator: ", ") + "\n"
  }

  private var phases: [(name: String, seconds: Double)] {
    let spent = report.spent
    return [
      ("preparing", spent.preparing), ("collecting", spent.collecting),
      ("training", spent.training), ("scoring", spent.scoring), ("saving", spent.saving),
    ]
  }

  private static func cells(_ row: TrainingReport.Row) -> [String] {
    let (entry, figures) = (row.entry, row.entry.figures)
    func share(_ value: Double) -> String { Quantity.decimals(value, 3) }
    return [
      entry.site.axis.rawValue, "\(entry.site.layer)", entry.site.placement.rawValue,
      "\(entry.rank)", "\(entry.bits)", "\(row.byteCount)", share(row.byteShare),
      share(figures.positives), share(figures.recall), share(figures.precision),
      share(figures.coveredMass), "\(figures.k98)", share(figures.density98),
    ]
  }

  /// For programs; the keys are stable.
  var json: JSONValue {
    [
      "schema": "dejavu/train/1",
      "model": .text(model),
      "fingerprint": .text(fingerprint),
      "output": .text(output),
      "tokens": .whole(report.tokens),
      "training_documents": .whole(report.trainingDocuments),
      "held_out_documents": .whole(report.heldOutDocuments),
      "held_out_tokens": .whole(report.heldOutTokens),
      "ms": .real(report.seconds * 1000),
      "continued": .bool(report.isResumed),
      "cut_short": .bool(report.isCutShort),
      "phases_ms": .object(phases.map { (key: $0.name, value: .real($0.seconds * 1000)) }),
      "predictors": .array(report.rows.map(Self.object)),
    ]
  }

  private static func object(_ row: TrainingReport.Row) -> JSONValue {
    let (entry, figures) = (row.entry, row.entry.figures)
    return [
      "axis": .text(entry.site.axis.rawValue),
      "layer": .whole(entry.site.layer),
      "placement": .text(entry.site.placement.rawValue),
      "rank": .whole(entry.rank),
      "bits": .whole(entry.bits),
      "bytes": .whole(row.byteCount),
      "byte_share": .real(row.byteShare),
      "criterion": .text(entry.criterion),
      "threshold": .real(entry.threshold),
      "positives": .real(figures.positives),
      "recall": .real(figures.recall),
      "precision": .real(figures.precision),
      "covered_mass": .real(figures.coveredMass),
      "k98": .whole(figures.k98),
      "density98": .real(figures.density98),
      "score98": .real(figures.score98),
    ]
  }
}
