import DejaVuEvaluation
import DejaVuModels
import Testing

struct StatisticsTests {
  @Test func `the median is the middle, or between the two middle ones`() {
    #expect(Statistics.median([3, 1, 2]) == 2)
    #expect(Statistics.median([4, 1, 3, 2]) == 2.5)
    #expect(Statistics.median([7]) == 7)
    #expect(Statistics.median([]) == 0)
  }

  @Test func `percentiles interpolate and end at the extremes`() {
    let values = (0...100).reversed().map(Double.init)
    #expect(Statistics.percentile(values, 0.95) == 95)
    #expect(Statistics.percentile(values, 0) == 0)
    #expect(Statistics.percentile(values, 1) == 100)
    #expect(Statistics.percentile([10, 20], 0.25) == 12.5)
  }

  @Test func `a figure is rounded, and null where there is no number`() throws {
    #expect(Figure(1.234567).value == 1.2346)
    #expect(Figure(.nan).value == nil)
    #expect(Figure(.infinity).text(2) == "-")
    #expect(Figure(0.92345).percent == "92.3 %")
    #expect(Spread([3, 1, 2]).text(1) == "1.0–3.0")
  }

  @Test func `the ratio of medians is not the median of ratios`() {
    // Rates 10, 10, 20 GB/s against probes 20, 10, 20: ratios 0.5, 1, 1.
    let read = tally(bytes: 10_000_000)
    let rounds = [(1.0, 20.0), (1.0, 10.0), (0.5, 20.0)].map { milliseconds, probe in
      DecodeFigures.Round(milliseconds: [milliseconds], tally: read, probe: probe)
    }
    var figures = DecodeFigures(mode: .dense, depth: 1)
    figures.rounds = rounds
    #expect(rounds.map(\.share) == [0.5, 1, 1])
    let row = SpeedReport.DecodeRow(figures, model: .sample, threads: 1, bandwidth: 20)
    #expect(row.bandwidthShare.value == 0.5)
    #expect(row.shareByRound.median.value == 1)
    #expect(row.shareByRound.lowest.value == 0.5)
    #expect(row.milliseconds.median.value == 1)
    #expect(row.bytesPerToken.value == 10_000_000)
  }
}
