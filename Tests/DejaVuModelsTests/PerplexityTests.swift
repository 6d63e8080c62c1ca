import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuJSON
import DejaVuModels
import DejaVuTokenizers
import Foundation
import Testing

/// Runs one after another: they share a model.
@Suite(.serialized)
struct PerplexityTests {
  private static let shared = Result {
    let options = CPUOptions(threads: 2, cacheType: .float32)
    return try LanguageModel(path: Golden.defaultModel.modelFolder, backend: .cpu(options))
  }
  private static let folder =
    Golden.root + "/Tests/DejaVuModelsTests/Fixtures/perplexity/"

  private func text() throws -> EvaluationText {
    EvaluationText(Array(try Data(contentsOf: URL(fileURLWithPath: Self.folder + "text.txt"))))
  }

  private func measure(_ options: PerplexityOptions) throws -> PerplexityResult {
    try Perplexity(model: Self.shared.get(), options: options).measure(text())
  }

  @Test(arguments: ["touching", "overlapping"], ScoringPath.allCases)
  func `window losses are transformers'`(name: String, path: ScoringPath) throws {
    let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: Self.folder + name + ".json")))
    let golden = try JSON.parse(bytes, limits: JSONLimits(values: 10_000))
    for mode in [RunMode.dense, .exact] {
      let result = try measure(
        PerplexityOptions(
          context: golden["context"]?.integer, stride: golden["stride"]?.integer, path: path,
          mode: mode))
      let windows = try #require(golden["windows"]?.elements)
      try #require(result.windows.count == windows.count)
      for (ours, theirs) in zip(result.windows, windows) {
        #expect(ours.window.scored.lowerBound == theirs["first"]?.integer)
        #expect(ours.window.scored.count == theirs["tokens"]?.integer)
        #expect(abs(ours.mean - (try #require(theirs["nll"]?.double))) < 1e-3)
      }
      #expect(abs(result.meanLoss - (try #require(golden["nll"]?.double))) < 1e-3)
      // Leaving out zeros changes nothing, and is measured beside a dense run.
      #expect(result.agreement == (mode == .dense ? nil : 1))
      if let divergence = result.divergence { #expect(mode == .exact && divergence < 1e-6) }
    }
  }

  @Test
  func `every token of the text is scored once`() throws {
    let model = try Self.shared.get()
    let tokens = try text().tokens(model.tokenizer, separatesDocuments: false)[0].count
    #expect(try measure(PerplexityOptions(context: 50)).tokens == tokens)
    #expect(try measure(PerplexityOptions(context: 50, stride: 7)).tokens == tokens)
    // Without a first token the first of each window that overlaps none has no score.
    let bare = try measure(PerplexityOptions(context: 50, beginsWithBOS: false))
    #expect(bare.tokens == tokens - (tokens + 49) / 50)
    let overlapping = PerplexityOptions(context: 50, stride: 25, beginsWithBOS: false)
    #expect(try measure(overlapping).tokens == tokens - 1)
  }

  @Test
  func `windows within documents never see another document`() throws {
    let model = try Self.shared.get()
    let apart = try measure(PerplexityOptions(separatesDocuments: true))
    #expect(apart.windows.count == 3)
    for (document, loss) in zip(try text().documents, apart.windows) {
      let alone = try Perplexity(model: model).measure(EvaluationText(document))
      #expect(alone.meanLoss == loss.mean)
    }
  }

  @Test
  func `progress ends when everything is done`() throws {
    let model = try Self.shared.get()
    let last = Box()
    let result = try Perplexity(model: model, options: PerplexityOptions(context: 40))
      .measure(text()) { last.progress = $0 }
    let progress = try #require(last.progress)
    #expect(progress.done == progress.total)
    #expect(progress.meanLoss == result.meanLoss)
    #expect(progress.remaining == .zero)
  }

  private final class Box { var progress: EvaluationProgress? }

  @Test
  func `what cannot be measured is refused`() throws {
    let model = try Self.shared.get()
    for context in [1, 2049] {
      #expect(throws: EvaluationError.contextOutOfRange(asked: context, allowed: 2...2048)) {
        try Perplexity(model: model, options: PerplexityOptions(context: context))
      }
    }
    #expect(throws: EvaluationError.notPositive(what: "the stride", found: 0)) {
      try Perplexity(model: model, options: PerplexityOptions(stride: 0))
    }
    #expect(throws: EvaluationError.nothingToScore(tokens: 0)) {
      try Perplexity(model: model).measure(EvaluationText([]))
    }
  }

  @Test
  func `the standard error is that of a ratio of sums`() throws {
    func window(_ tokens: Int, _ loss: Double) -> WindowLoss {
      WindowLoss(
        window: TextWindow(document: 0, range: 0..<tokens, scored: 0..<tokens), loss: loss)
    }
    let plan = WindowPlan(context: 4, beginsWithBOS: false)
    var result = PerplexityResult(plan: plan, path: .prompt, mode: .dense)
    result.windows = [window(4, 8)]
    #expect(result.standardError == nil)
    result.windows = [window(4, 4), window(4, 12), window(4, 8)]
    // Equal windows: the standard deviation of the means 1, 3, 2 over √3.
    #expect(result.meanLoss == 2)
    #expect(abs((result.standardError ?? 0) - 1 / 3.0.squareRoot()) < 1e-12)
  }
}

struct EvaluationTextTests {
  private func split(_ text: String) -> [String] {
    EvaluationText(Array(text.utf8)).documents.map { String(decoding: $0, as: UTF8.self) }
  }

  @Test
  func `lines that hold only the separator part documents`() {
    #expect(split("a\n<|endoftext|>\nb\n\n<|endoftext|>\n") == ["a", "b\n"])
    #expect(split("<|endoftext|>\n<|endoftext|>\na\n<|endoftext|>\r\nb") == ["a", "b"])
    let near = "a <|endoftext|>\n<|endoftext|> \nb\n"
    #expect(split(near) == [near])
    #expect(split("a\n<|endoftext|>") == ["a"])
    #expect(split("") == [])
    #expect(split("\n\na\r\n\n") == ["\n\na\r\n\n"])
  }

  @Test
  func `documents are joined by an empty line`() {
    let text = EvaluationText(Array("a\n<|endoftext|>\nb\n".utf8))
    #expect(String(decoding: text.joined, as: UTF8.self) == "a\n\nb\n")
  }

  @Test(arguments: [(3, 1), (3, 2), (7, 6), (7, 100), (50, 1), (50, 6), (50, 50)], [true, false])
  func `windows cover a text without gap or overlap`(sizes: (context: Int, stride: Int), bos: Bool)
  {
    let plan = WindowPlan(context: sizes.context, stride: sizes.stride, beginsWithBOS: bos)
    for count in [0, 1, 2, 49, 50, 51, 100] {
      var next = 0
      for window in plan.windows(tokens: [count]) {
        #expect(window.range.count + (bos ? 1 : 0) <= sizes.context)
        #expect(window.range.upperBound == window.scored.upperBound)
        // Something stands before every scored token.
        #expect(window.scored.lowerBound > window.range.lowerBound || bos)
        #expect(window.scored.lowerBound - next <= (bos ? 0 : 1))
        next = window.scored.upperBound
      }
      #expect(next == count || (!bos && next + 1 == count))
    }
  }

  @Test
  func `a sample is spread evenly`() {
    let windows = WindowPlan(context: 2, beginsWithBOS: true).windows(tokens: [10])
    #expect(WindowPlan.spread(4, of: windows).map(\.range.lowerBound) == [0, 2, 5, 7])
    #expect(WindowPlan.spread(10, of: windows) == windows)
    #expect(WindowPlan.spread(99, of: windows) == windows)
  }
}
