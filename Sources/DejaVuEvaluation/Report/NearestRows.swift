package import Foundation

/// What `Scripts/nearest_rows.py --json` found of approximate search for nearest rows.
package struct NearestRows: Codable, Hashable, Sendable {
  package static let schema = "dejavu/nearest-rows/1"

  package var schema: String
  package var model: String
  /// Rows of W1, and the width of each.
  package var neurons: Int
  package var hidden: Int
  package var rows: [Row]

  package struct Row: Codable, Hashable, Sendable {
    package var layer: Int
    /// `ip`, the product itself, or `l2`, after the reduction to Euclidean distance.
    package var space: String
    package var top: Int
    /// hnswlib's breadth of search.
    package var ef: Int
    package var recall: Figure
    /// Of all rows, those whose distance was computed.
    package var rowsReadShare: Figure
    package var msPerQuery: Figure
    /// Of multiplying the whole of W1 in float32.
    package var msAllRows: Figure
    /// Of the whole MLP, and of a low-rank predictor; of synthetic rows only.
    package var msMlp: Figure?
    package var msPredictor: Figure?
  }

  /// - Throws: ``ReportError/notNearestRows(_:)`` for a file of anything else.
  package init(json: Data) throws(ReportError) {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let found: Self
    do { found = try decoder.decode(Self.self, from: json) } catch {
      throw .notNearestRows("\(error)")
    }
    guard found.schema == Self.schema else {
      throw .notNearestRows("its schema is '\(found.schema)', not '\(Self.schema)'")
    }
    self = found
  }

  var table: TextTable {
    var table = TextTable([
      .number("layer"), .word("space"), .number("top"), .number("ef"), .number("recall"),
      .number("rows read"), .number("ms a query"), .number("ms, all of W1"), .number("ms, MLP"),
      .number("ms, predictor"),
    ])
    table.rows = rows.map {
      [
        String($0.layer), $0.space, String($0.top), String($0.ef), $0.recall.percent,
        $0.rowsReadShare.percent, $0.msPerQuery.text(3), $0.msAllRows.text(3),
        $0.msMlp?.text(2) ?? "-", $0.msPredictor?.text(2) ?? "-",
      ]
    }
    return table
  }
}

/// What is wrong with something that a report should show.
@nonexhaustive
package enum ReportError: Error, Hashable, Sendable {
  /// The file is not what the script writes.
  case notNearestRows(String)
  /// The file is not what a report writes.
  case notReport(String)
  /// The file is not what a sweep writes.
  case notSweep(String)
}

extension ReportError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .notNearestRows(let reason):
      "the file of --nearest-rows is not what 'Scripts/nearest_rows.py --json FILE' writes "
        + "(\(reason)); make it anew"
    case .notReport(let reason):
      "the file of --from is not what 'dejavu report --json' wrote (\(reason)); measure anew with --text"
    case .notSweep(let reason):
      "the file of --sweep is not what 'dejavu eval --sweep --json' prints (\(reason)); make it anew"
    }
  }
}
