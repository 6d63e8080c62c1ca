package import DejaVu
import DejaVuCore
import DejaVuModels
import DejaVuTokenizers

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Measures how well a model foretells a text: e to the mean loss per token.
///
/// Each window is read from an empty cache and every token of the text is scored once at most. The
/// token losses are those of Hugging Face transformers on the same tokens, to float32 rounding
/// with a float32 cache, and within 1e-3 nats on average with a float16 one.
package struct Perplexity {
  private let model: LanguageModel
  private let options: PerplexityOptions
  private let plan: WindowPlan
  private let bos: TokenID?

  /// - Throws: ``EvaluationError`` when the model cannot be measured like that.
  package init(
    model: LanguageModel, options: PerplexityOptions = PerplexityOptions()
  ) throws(EvaluationError) {
    self.model = model
    self.options = options
    bos = try Self.bos(model.tokenizer, asked: options.beginsWithBOS)
    let limit = model.architecture.context
    let context = options.context ?? min(limit, 1024)
    guard (2...max(limit, 2)).contains(context) else {
      throw .contextOutOfRange(asked: context, allowed: 2...max(limit, 2))
    }
    let counts = [("the stride", options.stride), ("the number of windows", options.windows)]
    for (what, value) in counts {
      if let value, value < 1 { throw .notPositive(what: what, found: value) }
    }
    plan = WindowPlan(context: context, stride: options.stride, beginsWithBOS: bos != nil)
  }

  /// The token that every window begins with: by default the one that the tokenizer puts before a
  /// text, if it puts any.
  private static func bos(
    _ tokenizer: any Tokenizer, asked: Bool?
  ) throws(EvaluationError) -> TokenID? {
    let prefix = tokenizer.encode("", addingSpecialTokens: true, parsingSpecialTokens: false)
    let added = prefix.first { $0 == tokenizer.bosToken }
    switch asked {
    case nil: return added
    case false?: return nil
    case true?:
      guard let bos = added ?? tokenizer.bosToken else { throw .noBOS }
      return bos
    }
  }

  /// Runs on the calling thread.
  ///
  /// - Parameters:
  ///   - text: what the model is to foretell.
  ///   - progress: called a few times a second.
  /// - Returns: the losses by window, and what reading them cost.
  /// - Throws: ``EvaluationError/nothingToScore(tokens:)`` or ``BackendError``.
  package func measure(
    _ text: EvaluationText, progress: @escaping (EvaluationProgress) -> Void = { _ in }
  ) throws -> PerplexityResult {
    let documents = text.tokens(
      model.tokenizer, separatesDocuments: options.separatesDocuments)
    let all = plan.windows(tokens: documents.map(\.count))
    let windows = options.windows.map { WindowPlan.spread($0, of: all) } ?? all
    guard !windows.isEmpty else {
      throw EvaluationError.nothingToScore(tokens: documents.reduce(0) { $0 + $1.count })
    }
    return try measure(windows, of: documents, progress)
  }

  private func measure(
    _ windows: [TextWindow], of documents: [[TokenID]],
    _ progress: @escaping (EvaluationProgress) -> Void
  ) throws(BackendError) -> PerplexityResult {
    var result = PerplexityResult(plan: plan, path: options.path, mode: options.mode)
    let session = try model.engine.makeSession(capacity: plan.context, mode: options.mode)
    let before = session.tally
    defer { session.tally = before }
    session.tally = Tally()
    var reporter = ProgressReporter(
      total: windows.reduce(0) { $0 + $1.range.count }, report: progress)
    for window in windows {
      var loss = 0.0
      let tokens = (bos.map { [$0] } ?? []) + documents[window.document][window.range]
      let first = tokens.count - window.scored.count
      session.truncate(to: 0)
      try session.foretell(tokens, from: first, path: options.path) { index, logits in
        loss -= logProbability(of: tokens[index], given: logits)
        reporter.add(loss: loss, scored: index + 1 - first, of: window, result)
      }
      result.windows.append(WindowLoss(window: window, loss: loss))
      reporter.finish(window, result)
    }
    result.time = reporter.elapsed
    result.tokensRead = session.tally.tokens
    result.bytesRead = session.tally.bytes
    return result
  }
}

/// Tells of progress a few times a second.
private struct ProgressReporter {
  private let total: Int
  private let report: (EvaluationProgress) -> Void
  private let start = ContinuousClock.now
  private var last = ContinuousClock.now
  private var done = 0
  private static let pause = Duration.milliseconds(200)

  init(total: Int, report: @escaping (EvaluationProgress) -> Void) {
    self.total = total
    self.report = report
  }

  var elapsed: Duration { ContinuousClock.now - start }

  /// A token of a window was scored; `loss` is the window's so far.
  mutating func add(loss: Double, scored: Int, of window: TextWindow, _ result: PerplexityResult) {
    guard ContinuousClock.now - last >= Self.pause else { return }
    let read = window.range.count - window.scored.count + scored
    let before = result.meanLoss * Double(result.tokens)
    tell(done + read, (before + loss) / Double(result.tokens + scored))
  }

  mutating func finish(_ window: TextWindow, _ result: PerplexityResult) {
    done += window.range.count
    guard done == total || ContinuousClock.now - last >= Self.pause else { return }
    tell(done, result.meanLoss)
  }

  private mutating func tell(_ done: Int, _ meanLoss: Double) {
    last = ContinuousClock.now
    report(EvaluationProgress(done: done, total: total, elapsed: elapsed, meanLoss: meanLoss))
  }
}

/// e to the power of `x`.
package func exponential(_ x: Double) -> Double { exp(x) }
