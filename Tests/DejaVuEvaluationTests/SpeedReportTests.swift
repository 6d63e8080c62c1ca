import DejaVuEvaluation
import Foundation
import Testing

struct SpeedReportTests {
  private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

  /// Compares with a file in `Snapshots`; `DEJAVU_REFRESH_SNAPSHOTS=1` writes it anew.
  private func check(_ text: String, _ name: String) throws {
    let file = root.appendingPathComponent("Snapshots/\(name)")
    if ProcessInfo.processInfo.environment["DEJAVU_REFRESH_SNAPSHOTS"] == "1" {
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    #expect(text == (try String(contentsOf: file, encoding: .utf8)), "see \(name)")
  }

  private func object(_ report: SpeedReport) throws -> [String: Any] {
    let value = try JSONSerialization.jsonObject(with: Data(try report.json().utf8))
    return try #require(value as? [String: Any])
  }

  @Test func `the tables are the ones agreed upon`() throws {
    try check(SpeedReport.sample().text, "bench.txt")
  }

  @Test func `without a BLAS the reason stands in its place`() throws {
    let report = SpeedReport.sample(blas: nil)
    #expect(report.text.contains("sgemm      not measured: no BLAS was found; install OpenBLAS\n"))
    let prompt = try #require(try object(report)["prompt"] as? [[String: Any]])
    #expect(prompt[0]["sgemm_share"] is NSNull)
    let machine = try #require(try object(report)["machine"] as? [String: Any])
    #expect(machine["blas"] is NSNull)
  }

  @Test func `the JSON object is the one agreed upon, on one line`() throws {
    let json = try SpeedReport.sample().json()
    #expect(!json.contains("\n"))
    try check(json + "\n", "bench.json")
    #expect(
      try JSONDecoder().decode(SpeedReport.self, from: Data(json.utf8)) == SpeedReport.sample())
  }

  @Test func `every row names its shape, mode, threads, depth, type and that it is synthetic`()
    throws
  {
    let object = try object(.sample())
    for list in ["decode", "prompt"] {
      let rows = try #require(object[list] as? [[String: Any]])
      #expect(!rows.isEmpty)
      for row in rows {
        for key in ["shape", "mode", "threads", "depth", "dtype"] { #expect(row[key] != nil) }
        #expect(row["synthetic"] as? Bool == true)
      }
    }
  }

  @Test func `shares, speedup and bytes are those of the numbers`() throws {
    let rows = SpeedReport.sample().decode
    // 2620 MB in 83 ms are 31.566 GB/s; of 34 they are 0.9284.
    #expect(rows[0].rate.value == 31.5663)
    #expect(rows[0].bandwidthShare.value == 0.9284)
    #expect(rows[0].speedupOverDense.value == nil)
    #expect(rows[1].speedupOverDense.value == 1.3175)
    #expect(rows[1].byteShare.value == 0.7405)
    // 2.631 GB in 1.25 s, by 3.5 GB/s.
    #expect(SpeedReport.sample().memory.packing?.faultInShare.value == 0.6014)
    let prompt = SpeedReport.sample().prompt[0]
    #expect(prompt.gflops.value == 187.8788)
    #expect(prompt.sgemmShare.value == 0.9165)
  }

  @Test func `every key is documented`() throws {
    let file = root.deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Documentation/JSON.md")
    let text = try String(contentsOf: file, encoding: .utf8)
    let section = try #require(
      text.components(separatedBy: "\n## ").first { $0.hasPrefix("`dejavu bench`") })
    func check(_ value: Any) {
      if let list = value as? [Any] { list.forEach(check) }
      guard let object = value as? [String: Any] else { return }
      for (key, value) in object {
        #expect(section.contains("`\(key)`"), "\(key) is not in Documentation/JSON.md")
        check(value)
      }
    }
    check(try object(.sample()))
  }
}
