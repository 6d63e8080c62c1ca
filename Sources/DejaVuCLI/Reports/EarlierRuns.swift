import DejaVuEvaluation
import DejaVuFormats
import DejaVuJSON
import DejaVuModels

/// Runs of a result of `eval --plan --json`, to be drawn beside others.
struct EarlierRuns {
  let runs: [TradeoffPlot.Run]

  /// - Parameters:
  ///   - path: the result.
  ///   - sample: what the others read; another number of tokens is another measurement.
  /// - Throws: ``CommandError/noRuns(path:reason:)``, and what reading throws.
  init(path: String, like sample: CalibrationText) throws {
    func fail(_ reason: String) -> CommandError { .noRuns(path: path, reason: reason) }
    let json: JSON
    do {
      json = try JSON.parse(
        try InputFile.read(path), limits: JSONLimits(depth: 12, values: 1 << 24))
    } catch let error as JSONError {
      throw fail(error.description)
    }
    let schemas = ["dejavu/eval-plan/1", "dejavu/eval-selectors/1"]
    guard let schema = json["schema"]?.text, schemas.contains(schema),
      let format = json["dtype"]?.text, let tokens = json["tokens"]?.integer,
      let rows = json["rows"]?.elements
    else { throw fail("it has no schema \(schemas[0]), or lacks its dtype, tokens or rows") }
    let asked = sample.windows.reduce(0) { $0 + $1.count - 1 }
    guard tokens == asked else {
      throw fail("it is of \(tokens) tokens, and this run of \(asked)")
    }
    runs = try rows.map { row in
      guard let name = row["selector"]?.text, let bytes = row["bytes_per_token"]?.double,
        let perplexity = row["perplexity"]?.double
      else { throw fail("a row lacks its selector, bytes or perplexity") }
      return TradeoffPlot.Run(
        name: name, format: format, bytesPerToken: bytes, perplexity: perplexity)
    }
  }
}
