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
    var reader = PerplexityReader(
      session: try model.engine.makeSession(capacity: plan.context, mode: options.mode),
      dense: options.mode == .dense
        ? nil : try model.engine.makeSession(capacity: plan.context, mode: .dense),
      path: options.path)
    let before = reader.session.tally
    defer { reader.session.tally = before }
    var reporter = ProgressReporter(
      total: windows.reduce(0) { $0 + $1.range.count }, report: progress)
    for window in windows {
      var loss = 0.0
      let tokens = (bos.map { [$0] } ?? []) + documents[window.document][window.range]
      let first = tokens.count - window.scored.count
      try reader.read(tokens, from: first) { index, found in
        loss += found
        reporter.add(loss: loss, scored: index + 1 - first, of: window, result)
      }
      result.windows.append(WindowLoss(window: window, loss: loss))
      reporter.finish(window, result)
    }
    result.time = reader.time
    result.tokensRead = reader.tally.tokens
    result.bytesRead = reader.tally.bytes
    result.comparison = reader.comparison
    return result
  }
}

/// Reads windows, beside a dense session where there is one to be compared with.
private struct PerplexityReader {
  let session: any Session
  let dense: (any Session)?
  let path: ScoringPath
  private(set) var time = Duration.zero
  private(set) var tally = Tally()
  private(set) var comparison: DenseComparison?

  init(session: any Session, dense: (any Session)?, path: ScoringPath) {
    (self.session, self.dense, self.path) = (session, dense, path)
    if dense != nil { comparison = DenseComparison() }
  }

  /// - Parameters:
  ///   - tokens: a window.
  ///   - first: the first token that is scored.
  ///   - read: called with the index and the loss of every token that is scored.
  /// - Throws: ``BackendError``.
  mutating func read(
    _ tokens: [TokenID], from first: Int, _ read: (Int, Double) -> Void
  ) throws(BackendError) {
    session.truncate(to: 0)
    dense?.truncate(to: 0)
    // Without a comparison a window is read at once.
    let turn = dense == nil ? tokens.count : ForetoldTokens.turn(session, path: path)
    for start in stride(from: first, to: tokens.count, by: turn) {
      let end = min(start + turn, tokens.count)
      // A session continues behind what it holds, up to the token before the last.
      let known = start == first ? 0 : start - 1
      let part = Array(tokens[known..<end])
      var foretold = ForetoldTokens()
      if let dense {
        try dense.foretell(part, from: start - known, path: path) { foretold.append($1) }
      }
      session.tally = Tally()
      let clock = ContinuousClock.now
      var (sum, same) = (0.0, 0)
      try session.foretell(part, from: start - known, path: path) { index, logits in
        let normalizer = logSumExp(logits)
        if dense != nil {
          let found = foretold.compare(logits, normalizer, at: known + index - start)
          sum += found.divergence
          same += found.isSameChoice ? 1 : 0
        }
        read(known + index, normalizer - Double(logits[Int(tokens[known + index])]))
      }
      time += ContinuousClock.now - clock
      tally = tally + session.tally
      comparison?.divergences += sum
      comparison?.agreements += same
    }
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
