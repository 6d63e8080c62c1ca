import DejaVu
import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import Foundation
import Testing

/// The goldens on this machine's card, where `DEJAVU_TEST_CARD` asks for it.
///
/// Weights of tiny models are float32, and so are their keys and values there; those of opt-16m are
/// float16, and inputs of heads, keys and values are rounded to it.
@Suite(
  .serialized,
  .enabled(
    if: ProcessInfo.processInfo.environment["DEJAVU_TEST_CARD"] == "1",
    "DEJAVU_TEST_CARD is not 1"))
struct CardGoldenTests {
  /// In nats, of the mean over a text, and of the worst token; and of two logits that may change places.
  private static let (mean, worst, tie): (Float, Float, Float) = (3e-3, 2e-2, 0.05)

  @Test(arguments: Golden.committed)
  func `a card gives transformers' losses and likeliest tokens`(golden: Golden) throws {
    let loaded = try ModelFolder.load(golden.modelFolder, team: try ThreadTeam(threads: 1))
    let engine = try Engine(model: loaded.model, backend: .cuda(CUDAOptions()))
    for (index, text) in try golden.cases().enumerated() {
      for cut in Set([0, text.ids.count / 2, text.ids.count]) {
        try checkLosses(engine, text, cut: cut, "\(golden.name), text \(index)")
      }
      try checkGreedy(engine, text)
    }
  }

  /// The first `cut` tokens as a prompt, the rest one by one.
  private func checkLosses(_ engine: Engine, _ text: GoldenCase, cut: Int, _ what: String) throws {
    var answer = Answer(to: text)
    let session = try engine.makeSession(capacity: text.ids.count)
    if cut > 0 { try session.run(text.ids[..<cut], wanted: .all) { answer.record($0, $1) } }
    for position in cut..<text.ids.count {
      answer.record(position, try session.decode(text.ids[position]))
    }
    print(
      "golden", what, "cut", cut, "tokens", text.ids.count, "mean loss off by",
      answer.meanLossDifference, "worst token", answer.lossDifference)
    #expect(answer.meanLossDifference < Self.mean)
    #expect(answer.lossDifference < Self.worst)
  }

  /// Teacher-forced on the golden's own continuation.
  private func checkGreedy(_ engine: Engine, _ text: GoldenCase) throws {
    let session = try engine.makeSession(capacity: text.ids.count + text.greedy.count)
    var next: [Float] = []
    try session.run(text.ids[...], wanted: .last) { next = Array($1) }
    for token in text.greedy {
      let best = next.withUnsafeBufferPointer { argmax($0) }
      #expect(
        best == Int(token) || next[best] - next[Int(token)] < Self.tie,
        "\(best) stands above \(token) by \(next[best] - next[Int(token)])")
      next = Array(try session.decode(token))
    }
  }
}
