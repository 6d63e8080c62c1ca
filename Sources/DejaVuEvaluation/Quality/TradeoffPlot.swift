/// Perplexity against bytes per token: what rows that are left out, and bits that are, buy.
package struct TradeoffPlot {
  /// One way to run one model.
  package struct Run: Hashable, Sendable {
    /// "dense", "exact", or a plan's or selector's name: runs of a name make a line.
    package let name: String
    /// What the weights are stored in.
    package let format: String
    package let bytesPerToken: Double
    package let perplexity: Double

    package init(name: String, format: String, bytesPerToken: Double, perplexity: Double) {
      self.name = name
      self.format = format
      self.bytesPerToken = bytesPerToken
      self.perplexity = perplexity
    }
  }

  private let runs: [Run]

  /// - Parameter runs: dense ones first, so that they have the first colour.
  package init(_ runs: [Run]) { self.runs = runs }

  /// The file: lower is better, and further left.
  package var svg: String {
    var names: [String] = []
    for run in runs where !names.contains(run.name) { names.append(run.name) }
    let series = names.map { name in
      Chart.Series(
        name,
        runs.filter { $0.name == name }.sorted { $0.bytesPerToken < $1.bytesPerToken }.map {
          Chart.Point(x: $0.bytesPerToken / 1e6, y: $0.perplexity, label: $0.format)
        })
    }
    let chart = Chart(
      content: .lines(series), xTitle: "MB read per token", yTitle: "perplexity")
    return chart.svg(
      title: "Perplexity against megabytes read per token",
      description: "A line for each way to run the model, a mark for each format of its weights."
    ).document(style: SparsityReport.style + "\n.ground { fill: var(--ground); }")
  }
}
