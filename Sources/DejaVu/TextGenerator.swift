package import DejaVuCore
import DejaVuFormats
public import DejaVuModels
package import DejaVuTokenizers

/// What to generate and when to stop.
public struct GenerationOptions: Hashable, Sendable {
  /// Tokens at most; 0 computes nothing.
  public var maxTokens: Int
  /// How each token is chosen from the logits.
  public var sampling: SamplingOptions
  /// Texts at which generation ends; they are not part of the result.
  public var stop: [String]
  /// Whether control-token text in the prompt, such as `</s>`, becomes that token.
  public var parsesSpecialTokens: Bool
  /// Whether an end-of-text token is taken as any other.
  public var ignoresEnd: Bool

  /// Greedy text of at most 128 tokens, unless said otherwise.
  public init(
    maxTokens: Int = 128, sampling: SamplingOptions = SamplingOptions(), stop: [String] = [],
    parsesSpecialTokens: Bool = false, ignoresEnd: Bool = false
  ) {
    self.maxTokens = maxTokens
    self.sampling = sampling
    self.stop = stop
    self.parsesSpecialTokens = parsesSpecialTokens
    self.ignoresEnd = ignoresEnd
  }
}

/// Why a text ended.
public enum FinishReason: String, Hashable, Sendable {
  /// The model ended it, or a stop text came up.
  case stop
  /// The tokens asked for, or the model's context, were spent.
  case length
  /// The reader went away.
  case cancelled
}

/// What a generation did and how long it took.
public struct GenerationReport: Hashable, Sendable {
  /// The continuation without the prompt; cut before a stop text.
  public var text = ""
  /// Tokens of the prompt, those that the tokenizer adds included.
  public var promptTokens = 0
  /// Tokens of the continuation, without the one that ended it.
  public var tokens: [TokenID] = []
  /// Why there is no more text.
  public var finishReason = FinishReason.length
  /// Time to compute the prompt and choose the first token.
  public var promptTime = Duration.zero
  /// Time from the first token to the last, the reader's share included.
  public var decodeTime = Duration.zero
  /// Bytes that decoding one token read, on average.
  public var bytesPerToken = 0.0
  /// Share of the dense model's weight bytes that decoding a token read, choosers included.
  public var weightShare = 1.0
  /// What decoding read; the prompt does not count.
  package var tally = Tally()

  /// Decoded tokens per second; the first token comes out of the prompt and does not count.
  public var tokensPerSecond: Double {
    let seconds = decodeTime / .seconds(1)
    return seconds > 0 && tokens.count > 1 ? Double(tokens.count - 1) / seconds : 0
  }
}

/// Prompt → text: encode, prefill, then sample and decode one token at a time.
package struct TextGenerator {
  private let model: LanguageModel

  package init(model: LanguageModel) { self.model = model }

  /// Runs to the end on the calling thread.
  ///
  /// - Parameters:
  ///   - prompt: the text to continue; an empty one stands for the model's first token.
  ///   - options: what to generate and when to stop.
  ///   - mode: which rows are read once the prompt, which is dense, is through.
  ///   - sparsity: what mode sparse follows.
  ///   - isCancelled: asked before each batch of the prompt and after each token, whether or not
  ///     it brought text.
  ///   - onPiece: called with each piece of valid text; returns whether to go on.
  /// - Returns: what came out; without any token when the prompt's computation was cancelled.
  /// - Throws: ``BackendError/contextExceeded(needed:limit:)`` when the prompt leaves no room for
  ///   a token, and what the backend throws.
  package func run(
    prompt: String, options: GenerationOptions, mode: RunMode = .dense,
    sparsity: Sparsity? = nil,
    isCancelled: () -> Bool = { false }, onPiece: (String) -> Bool
  ) throws(BackendError) -> GenerationReport {
    let ids = promptTokens(prompt, options: options)
    let limit = model.architecture.context
    guard ids.count < limit else { throw .contextExceeded(needed: ids.count + 1, limit: limit) }
    let capacity = min(limit, ids.count + max(options.maxTokens, 1))
    let session = try model.engine.makeSession(capacity: capacity, sparsity: sparsity)
    var sampler = Sampler(options: options.sampling, vocabulary: model.architecture.vocabulary)
    for id in ids { sampler.observe(id) }
    var report = GenerationReport()
    report.promptTokens = ids.count
    guard options.maxTokens > 0 else { return report }
    let clock = ContinuousClock()
    let start = clock.now
    let first = try prefill(ids, session, &sampler, isCancelled)
    report.promptTime = clock.now - start
    // The prompt is dense: a batch of tokens uses nearly every row.
    session.mode = mode
    session.tally = Tally()
    guard let first else {
      report.finishReason = .cancelled
      return report
    }
    var writer = PieceWriter(tokenizer: model.tokenizer, stop: options.stop)
    try decode(from: first, session, &sampler, &writer, options, &report, isCancelled, onPiece)
    report.tally = session.tally
    report.bytesPerToken = Double(session.tally.bytes) / Double(max(session.tally.tokens, 1))
    report.weightShare = session.tally.weightShare(of: model.loaded.model)
    report.text = writer.text
    return report
  }

  /// Computes the prompt batch by batch; the first token of the text, or nil when cancelled.
  private func prefill(
    _ ids: [TokenID], _ session: any Session, _ sampler: inout Sampler, _ isCancelled: () -> Bool
  ) throws(BackendError) -> TokenID? {
    var first: TokenID?
    var rest = ids[...]
    while !rest.isEmpty {
      if isCancelled() { return nil }
      let batch = rest.prefix(session.batchCapacity)
      rest = rest.dropFirst(batch.count)
      try session.run(batch, wanted: rest.isEmpty ? .last : .none) { _, logits in
        first = sampler.next(logits, position: ids.count)
      }
    }
    return first
  }

  private func decode(
    from first: TokenID, _ session: any Session, _ sampler: inout Sampler,
    _ writer: inout PieceWriter, _ options: GenerationOptions, _ report: inout GenerationReport,
    _ isCancelled: () -> Bool, _ onPiece: (String) -> Bool
  ) throws(BackendError) {
    let clock = ContinuousClock()
    let start = clock.now
    report.tokens.reserveCapacity(options.maxTokens)
    var token = first
    while true {
      if !options.ignoresEnd, isEnd(token) {
        report.finishReason = .stop
        break
      }
      report.tokens.append(token)
      sampler.observe(token)
      let piece = writer.append(token)
      let isWanted = piece.isEmpty || onPiece(piece)
      if !isWanted || isCancelled() {
        report.finishReason = .cancelled
        break
      }
      if writer.hasStopped {
        report.finishReason = .stop
        break
      }
      if report.tokens.count >= options.maxTokens || session.count >= session.capacity { break }
      token = try session.next(after: token, by: &sampler)
    }
    report.decodeTime = clock.now - start
    let rest = writer.finish()
    if !rest.isEmpty, report.finishReason != .cancelled { _ = onPiece(rest) }
  }

  private func isEnd(_ token: TokenID) -> Bool {
    let named = model.loaded.generation.eosTokens
    return named.isEmpty ? token == model.tokenizer.eosToken : named.contains(Int(token))
  }

  /// A prompt always has at least one token: without any, the model's first.
  private func promptTokens(_ prompt: String, options: GenerationOptions) -> [TokenID] {
    let ids = model.tokenizer.encode(
      prompt, addingSpecialTokens: true, parsingSpecialTokens: options.parsesSpecialTokens)
    guard ids.isEmpty else { return ids }
    let first = model.tokenizer.bosToken ?? model.tokenizer.eosToken ?? 0
    return [first]
  }
}

/// Token ids → text without half characters and without the stop texts.
///
/// Stop texts are found code point by code point, as Python's `find` does: for Swift's characters
/// a line feed behind a carriage return, or a letter below an accent, would not be there.
package struct PieceWriter {
  private var stream: TokenStream
  private let stop: [[Unicode.Scalar]]
  /// Text that is out.
  package private(set) var text = ""
  /// Text that could be the beginning of a stop text and waits.
  private var held: [Unicode.Scalar] = []
  /// Whether a stop text came up; nothing comes out after it.
  package private(set) var hasStopped = false

  package init(tokenizer: any Tokenizer, stop: [String]) {
    stream = TokenStream(tokenizer: tokenizer, skippingSpecialTokens: true)
    self.stop = stop.filter { !$0.isEmpty }.map { Array($0.unicodeScalars) }
  }

  /// Adds a token; returns the text that is now certain.
  package mutating func append(_ token: TokenID) -> String {
    release(stream.append(token), isLast: false)
  }

  /// The rest, when no more tokens come.
  package mutating func finish() -> String {
    hasStopped ? "" : release(stream.flush(), isLast: true)
  }

  private mutating func release(_ piece: String, isLast: Bool) -> String {
    if stop.isEmpty {
      text += piece
      return piece
    }
    held += piece.unicodeScalars
    if let cut = stop.compactMap({ held.firstRange(of: $0)?.lowerBound }).min() {
      hasStopped = true
      return out(cut)
    }
    return out(isLast ? held.count : held.count - longestStopPrefix)
  }

  /// Lets the first `count` code points go; after a stop text, nothing waits any more.
  private mutating func out(_ count: Int) -> String {
    var certain = String.UnicodeScalarView()
    certain.append(contentsOf: held[..<count])
    held.removeFirst(hasStopped ? held.count : count)
    text += String(certain)
    return String(certain)
  }

  /// How much of the end of `held` could still become a stop text.
  private var longestStopPrefix: Int {
    var longest = 0
    for text in stop {
      for length in stride(from: min(text.count - 1, held.count), to: longest, by: -1)
      where held.suffix(length).elementsEqual(text.prefix(length)) {
        longest = length
        break
      }
    }
    return longest
  }
}
