import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuFormats
import DejaVuModels
import DejaVuTestSupport
import DejaVuTokenizers
import DejaVuTraining
import Foundation
import Testing

struct TrainingTests {
  /// The bytes of the file that a training writes.
  private func file(_ training: PredictorTraining) throws -> [UInt8] {
    let path = TinyTraining.path("predictors")
    defer { try? FileManager.default.removeItem(atPath: path) }
    _ = try #require(try training.run())
    try training.write(to: path)
    return try TinyTraining.bytes(path)
  }

  @Test func `the same seed gives the same bytes, on any number of threads`() throws {
    let first = try file(TinyTraining.training(threads: 1))
    #expect(try file(TinyTraining.training(threads: 3)) == first)
    var other = TinyTraining.options()
    other.seed = 2
    #expect(try file(TinyTraining.training(options: other)) != first)
  }

  @Test func `plans stay with the model, but for those that ask the predictors of before`() throws {
    let path = TinyTraining.path("predictors")
    defer { try? FileManager.default.removeItem(atPath: path) }
    let training = try TinyTraining.training()
    _ = try #require(try training.run())
    try training.write(to: path)
    let architecture = try TinyTraining.engine(.opt).model.architecture
    let fingerprint = String(repeating: "a", count: 64)
    let layers = architecture.layers
    let plans = [
      SparsityPlan.uniform(
        "shadow", layers: layers, neurons: .shadow(bits: 4, .afterAttention, .threshold(0.1))),
      .uniform("trained", layers: layers, neurons: .lowRank(.afterAttention, .threshold(0.1))),
    ]
    func open() throws -> PredictorFile {
      try PredictorFile.open(path: path, fingerprint: fingerprint, architecture: architecture)
    }
    _ = try open().replacingPlans(PlanText.text(plans), architecture: architecture)
    try training.write(to: path)
    let kept = try PlanReader(architecture: architecture, path: path).plans(in: try open().plans)
    #expect(kept.map(\.name) == ["shadow"])
  }

  @Test(arguments: [30, 66, 82, 101])
  func `an interrupted training ends as one that ran through`(window: Int) throws {
    let whole = try file(TinyTraining.training())
    let state = TinyTraining.path("state")
    defer { try? FileManager.default.removeItem(atPath: state) }
    var asked = 0
    let first = try TinyTraining.training(state: state)
    let report = try first.run(isInterrupted: {
      asked += 1
      return asked > window
    })
    #expect(report == nil)
    let second = try TinyTraining.training(state: state)
    #expect(try file(second) == whole)
    #expect(!FileManager.default.fileExists(atPath: state))
  }

  @Test func `layers trained in turn are all there, and can be continued too`() throws {
    var options = TinyTraining.options(tokens: 1024)
    // One layer: two streams of 96 halves, 172 and 4 rows a token.
    options.sampleBytes = 560 * (4096 + 4 * 1024) * 3 / 2
    let state = TinyTraining.path("state")
    defer { try? FileManager.default.removeItem(atPath: state) }
    let training = try TinyTraining.training(options: options)
    #expect(training.groupCount == 3)
    let whole = try file(training)
    var asked = 0
    let first = try TinyTraining.training(options: options, state: state)
    _ = try first.run(isInterrupted: {
      asked += 1
      return asked > 160
    })
    #expect(FileManager.default.fileExists(atPath: state))
    #expect(try file(TinyTraining.training(options: options, state: state)) == whole)
  }

  @Test func `a state of other settings, and a damaged one, are refused`() throws {
    let state = TinyTraining.path("state")
    defer { try? FileManager.default.removeItem(atPath: state) }
    var asked = 0
    _ = try TinyTraining.training(state: state).run(isInterrupted: {
      asked += 1
      return asked > 100
    })
    var other = TinyTraining.options()
    other.bits = 8
    #expect(throws: TrainingError.foreignState(path: state)) {
      try TinyTraining.training(options: other, state: state)
    }
    let bytes = try TinyTraining.bytes(state)
    try Data(bytes.prefix(bytes.count / 2)).write(to: URL(fileURLWithPath: state))
    #expect(throws: (any Error).self) { try TinyTraining.training(state: state) }
  }

  @Test(arguments: [TinyModel.opt, .llamaGrouped, .neoX, .optPostNorm])
  func `a trained file opens, and its figures are shares`(tiny: TinyModel) throws {
    let path = TinyTraining.path("predictors")
    defer { try? FileManager.default.removeItem(atPath: path) }
    let training = try TinyTraining.training(tiny, options: TinyTraining.options(tokens: 1024))
    let report = try #require(try training.run())
    try training.write(to: path)
    let architecture = tiny.architecture
    let opened = try PredictorFile.open(
      path: path, fingerprint: String(repeating: "a", count: 64), architecture: architecture)
    #expect(opened.entries == report.rows.map(\.entry))
    #expect(opened.entries.count == 2 * architecture.layers)
    #expect(opened.predictors.count == opened.entries.count)
    for entry in opened.entries {
      let figures = entry.figures
      let shares = [
        figures.positives, figures.recall, figures.precision, figures.coveredMass,
        figures.density98,
      ]
      #expect(shares.allSatisfy { (0...1).contains($0) })
      #expect(figures.k98 >= 1 && figures.k98 <= entry.site.axis.rows(architecture))
      #expect(figures.tokens >= 1024)
    }
  }

  @Test(arguments: [Placement.layerAhead, .blockAhead, .afterAttention])
  func `a placement ahead of layer 0 falls back, and the file says so`(
    placement: Placement
  ) throws {
    var options = TinyTraining.options(tokens: 512)
    options.placement = placement
    options.headPlacement = placement == .afterAttention ? .same : placement
    let training = try TinyTraining.training(options: options)
    let report = try #require(try training.run())
    for row in report.rows {
      let (site, axis) = (row.entry.site, row.entry.site.axis)
      let wanted = axis == .heads ? options.headPlacement : placement
      let first: Placement =
        axis == .heads ? .same : placement == .afterAttention ? .afterAttention : .blockAhead
      #expect(site.placement == (site.layer == 0 ? first : wanted))
    }
  }

  @Test func `documents are on one side of the split only`() throws {
    let documents = (0..<100).map { "document \($0)" }
    let text = EvaluationText(Array(documents.joined(separator: "\n<|endoftext|>\n").utf8))
    let divided = try DividedText(text)
    #expect(divided.heldOut.count == 5)
    #expect(Set(divided.heldOut).isDisjoint(with: divided.training))
    #expect(Set(divided.heldOut).union(divided.training) == Set(text.documents))
    #expect(throws: TrainingError.tooFewDocuments(found: 1)) {
      try DividedText(EvaluationText(Array("one".utf8)))
    }
  }

  @Test func `windows are full, begin with the first token, and depend on the seed`() throws {
    let documents = (0..<7).map { [UInt8](repeating: UInt8(97 + $0), count: 30) }
    func windows(_ seed: UInt64) throws -> [[TokenID]] {
      var stream = WindowStream(
        documents: documents, tokenizer: ByteTokenizer(), window: 50, seed: seed)
      return try (0..<12).map { _ in try stream.next() }
    }
    let first = try windows(1)
    #expect(first.allSatisfy { $0.count == 50 && $0[0] == 256 })
    #expect(try windows(1) == first)
    #expect(try windows(2) != first)
    // Every document comes once before any comes again.
    let read = first.flatMap { $0.dropFirst() }.prefix(7 * 32)
    for letter in 97..<104 { #expect(read.count { $0 == letter } == 30) }
    var empty = WindowStream(
      documents: [[97], [98]], tokenizer: ByteTokenizer(), window: 50, seed: 1)
    #expect(throws: TrainingError.self) { try empty.next() }
  }

  @Test func `a short training on real weights covers more mass than chance`() throws {
    let model = try LanguageModel(
      path: URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../Models/opt-16m").standardized.path, threads: 2)
    let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../../CONTRIBUTING.md").standardized
    let lines = try String(contentsOf: url, encoding: .utf8).components(separatedBy: "\n\n")
    let text = EvaluationText(Array(lines.joined(separator: "\n<|endoftext|>\n").utf8))
    var options = TrainingOptions()
    (options.axes, options.rank) = ([.neurons], 64)
    (options.tokens, options.timeBudget) = (4096, nil)
    let training = try PredictorTraining(
      engine: model.engine, tokenizer: model.tokenizer, fingerprint: model.loaded.fingerprint,
      text: text, options: options, statePath: nil)
    let report = try #require(try training.run())
    for row in report.rows {
      let figures = row.entry.figures
      // Random rows carry as much of the mass as they are of the rows.
      let chance = Double(figures.k98) / Double(model.architecture.neurons)
      #expect(figures.coveredMass > 1.5 * chance, "layer \(row.entry.site.layer)")
    }
  }
}
