import DejaVuEvaluation
import Foundation
import Testing

struct TradeoffPlotTests {
  @Test func `every run has a mark that says what it is, and every way to run a line`() {
    let runs = [
      ("dense", "float16", 90e6, 25.9), ("plan <1%>", "float16", 60e6, 26.1),
      ("dense", "int4-g64", 40e6, 26.2), ("plan <1%>", "int4-g64", 30e6, 26.5),
    ]
    let plot = TradeoffPlot(
      runs.map {
        TradeoffPlot.Run(name: $0.0, format: $0.1, bytesPerToken: $0.2, perplexity: $0.3)
      })
    let svg = plot.svg
    #expect(svg.count(of: "<polyline") == 2)
    for tip in ["dense: 25.9 at 90", "dense: 26.2 at 40", "plan &lt;1%&gt;: 26.5 at 30"] {
      #expect(svg.count(of: "<title>\(tip)</title>") == 1, "\(tip)")
    }
    // A label beside the mark of each run.
    #expect(svg.count(of: ">int4-g64<") == 2 && svg.count(of: ">float16<") == 2)
    #expect(!svg.contains("<1%>"))
  }
}

extension String {
  fileprivate func count(of part: String) -> Int { components(separatedBy: part).count - 1 }
}
