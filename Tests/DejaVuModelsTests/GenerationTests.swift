import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuModels
import DejaVuTokenizers
import Foundation
import Testing

/// Runs one after another: they share a model.
@Suite(.serialized)
struct GenerationTests {
  private static let shared = Result {
    try LanguageModel(path: Golden.defaultModel.modelFolder, threads: 2)
  }
  private static let prompt = "Once upon a time"

  private func run(
    _ options: GenerationOptions, model: LanguageModel? = nil,
    goesOn: (String) -> Bool = { _ in true }
  ) throws -> GenerationReport {
    let generator = TextGenerator(model: try model ?? Self.shared.get())
    return try generator.run(prompt: Self.prompt, options: options, onPiece: goesOn)
  }

  @Test
  func `pieces join to the text, and all tokens asked for come`() throws {
    var pieces: [String] = []
    let report = try run(GenerationOptions(maxTokens: 24)) {
      pieces.append($0)
      return true
    }
    #expect(pieces.joined() == report.text)
    #expect(report.tokens.count == 24)
    #expect(report.finishReason == .length)
    #expect(report.tally.tokens == 23)
  }

  @Test
  func `generation ends at a stop text that two tokens share`() throws {
    let model = try Self.shared.get()
    let whole = try run(GenerationOptions(maxTokens: 24))
    let pieces = whole.tokens.map { model.tokenizer.decode([$0], skippingSpecialTokens: true) }
    let stop = String(pieces[9].suffix(1) + pieces[10].prefix(2))
    let cut = try #require(whole.text.range(of: stop))
    let report = try run(GenerationOptions(maxTokens: 24, stop: [stop]))
    #expect(report.text == whole.text[..<cut.lowerBound])
    #expect(report.finishReason == .stop)
    #expect(report.tokens.count <= 11)
  }

  @Test
  func `generation ends at the model's end token, unless it is ignored`() throws {
    let tokens = try run(GenerationOptions(maxTokens: 24)).tokens
    let end = tokens[8]
    let folder = try ModelCopy(
      of: Golden.defaultModel.modelFolder,
      files: ["generation_config.json": "{\"bos_token_id\": 2, \"eos_token_id\": [\(end), 2]}"])
    let model = try LanguageModel(path: folder.path, threads: 2)
    let report = try run(GenerationOptions(maxTokens: 24), model: model)
    #expect(report.tokens == Array(tokens.prefix { $0 != end }))
    #expect(report.finishReason == .stop)
    let ignoring = try run(GenerationOptions(maxTokens: 24, ignoresEnd: true), model: model)
    #expect(ignoring.tokens == tokens)
  }

  @Test
  func `generation ends where the model's context does`() throws {
    let generator = TextGenerator(model: try Self.shared.get())
    let limit = try Self.shared.get().architecture.context
    let options = GenerationOptions(maxTokens: 50, ignoresEnd: true)
    func run(words: Int) throws -> GenerationReport {
      let prompt = "a" + String(repeating: " a", count: words - 1)
      return try generator.run(prompt: prompt, options: options, onPiece: { _ in true })
    }
    let report = try run(words: limit - 5)
    #expect(report.promptTokens == limit - 4)
    #expect(report.tokens.count == 5)
    #expect(report.finishReason == .length)
    #expect(throws: BackendError.contextExceeded(needed: limit + 2, limit: limit)) {
      try run(words: limit)
    }
  }

  @Test
  func `a reader that wants no more ends the generation`() throws {
    var left = 3
    let report = try run(GenerationOptions(maxTokens: 24)) { _ in
      left -= 1
      return left > 0
    }
    #expect(report.finishReason == .cancelled)
    #expect(report.tokens.count == 3)
  }

  @Test
  func `a generation that is cancelled ends at the next token, text or none`() throws {
    let model = try Self.shared.get()
    // All of the text could be the beginning of this one, so that no piece comes out.
    let stop = try run(GenerationOptions(maxTokens: 24)).text + "!"
    var (looks, pieces) = (0, 0)
    let report = try TextGenerator(model: model).run(
      prompt: Self.prompt, options: GenerationOptions(maxTokens: 24, stop: [stop]),
      isCancelled: {
        looks += 1
        return looks > 3
      },
      onPiece: { _ in
        pieces += 1
        return true
      })
    #expect(report.finishReason == .cancelled)
    #expect(report.tokens.count == 3)
    #expect(pieces == 0)
  }

  @Test
  func `a prompt that is cancelled ends before its next batch`() throws {
    let options = CPUOptions(threads: 2, batchCapacity: 8)
    let model = try LanguageModel(
      path: Golden.defaultModel.modelFolder, backend: .cpu(options))
    let prompt = String(repeating: " a", count: 60)
    var looks = 0
    let report = try TextGenerator(model: model).run(
      prompt: prompt, options: GenerationOptions(maxTokens: 4),
      isCancelled: {
        looks += 1
        return looks > 3
      },
      onPiece: { _ in true })
    #expect(looks == 4)
    #expect(report.finishReason == .cancelled)
    #expect(report.tokens.isEmpty && report.promptTokens > 24)
  }

  @Test
  func `the same seed gives the same text`() throws {
    func text(_ seed: UInt64) throws -> String {
      let sampling = SamplingOptions(temperature: 1, topP: 0.95, seed: seed)
      return try run(GenerationOptions(maxTokens: 16, sampling: sampling)).text
    }
    #expect(try text(1) == text(1))
    #expect(try text(1) != text(2))
  }

  @Test
  func `the stream of pieces is the generator's text`() async throws {
    let options = GenerationOptions(maxTokens: 24)
    var text = ""
    for try await piece in try Self.shared.get().generate(Self.prompt, options: options) {
      text += piece
    }
    #expect(text == (try run(options).text))
  }

  @Test
  func `a model whose folder is missing is unreadable`() throws {
    let file = Golden.defaultModel.modelFolder + "/config.json"
    for path in ["/nonexistent", file] {
      #expect {
        try LanguageModel(path: path, threads: 1)
      } throws: { error in
        guard case .unreadable(path, _)? = error as? CheckpointError else { return false }
        return true
      }
    }
  }

  @Test
  func `the stream passes errors on`() async throws {
    let model = try Self.shared.get()
    let prompt = String(repeating: " a", count: model.architecture.context)
    await #expect(throws: BackendError.self) {
      for try await _ in model.generate(prompt) {}
    }
  }

  @Test
  func `a stream that nobody reads any more stops computing`() async throws {
    let model = try Self.shared.get()
    let options = GenerationOptions(maxTokens: 2000, ignoresEnd: true)
    let reader = Task {
      for try await _ in model.generate(Self.prompt, options: options) { return }
    }
    try await reader.value
    // Waits its turn behind the first, and computes nothing.
    for try await _ in model.generate("", options: GenerationOptions(maxTokens: 0)) {}
    #expect(try #require(model.engine.cpu).tally.tokens < 1900)
  }
}
