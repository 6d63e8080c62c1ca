package import DejaVuModels

/// What to measure, and on how much of the text.
package struct PerplexityOptions: Hashable, Sendable {
  /// Tokens of a window; nil takes the model's context, at most 1024.
  package var context: Int?
  /// Tokens by which windows advance; nil lets them touch without overlap.
  package var stride: Int?
  /// How many windows, spread evenly over the text; nil takes all.
  package var windows: Int?
  /// Whether windows begin with the beginning-of-text token; nil asks the tokenizer.
  package var beginsWithBOS: Bool?
  /// Whether no window reaches over the end of a document.
  package var separatesDocuments: Bool
  package var path: ScoringPath
  package var mode: RunMode

  package init(
    context: Int? = nil, stride: Int? = nil, windows: Int? = nil, beginsWithBOS: Bool? = nil,
    separatesDocuments: Bool = false, path: ScoringPath = .prompt, mode: RunMode = .dense
  ) {
    self.context = context
    self.stride = stride
    self.windows = windows
    self.beginsWithBOS = beginsWithBOS
    self.separatesDocuments = separatesDocuments
    self.path = path
    self.mode = mode
  }
}

/// The loss of one window.
package struct WindowLoss: Hashable, Sendable {
  package let window: TextWindow
  /// Σ −ln p over the scored tokens, in nats.
  package let loss: Double

  package init(window: TextWindow, loss: Double) {
    self.window = window
    self.loss = loss
  }

  /// Loss per scored token.
  package var mean: Double { loss / Double(window.scored.count) }
}

/// Sums over scored tokens that hold a run against a dense one.
package struct DenseComparison: Hashable, Sendable {
  /// Divergence of the run's next-token distribution from the dense one, nats.
  package var divergences = 0.0
  /// Greedy choices that are the dense run's.
  package var agreements = 0
}

/// How well a model foretells a text.
package struct PerplexityResult: Hashable, Sendable {
  package let plan: WindowPlan
  package let path: ScoringPath
  package let mode: RunMode
  package var windows: [WindowLoss] = []
  /// Time spent in the model and in taking losses.
  package var time = Duration.zero
  /// Tokens that the model read, context included.
  package var tokensRead = 0
  /// Bytes that the model read for them.
  package var bytesRead = 0
  /// How the run differs from a dense one; nil of a dense one.
  package var comparison: DenseComparison?

  package init(plan: WindowPlan, path: ScoringPath, mode: RunMode) {
    self.plan = plan
    self.path = path
    self.mode = mode
  }

  /// Tokens scored.
  package var tokens: Int { windows.reduce(0) { $0 + $1.window.scored.count } }
  /// Mean loss per token, in nats; every token counts the same.
  package var meanLoss: Double { windows.reduce(0) { $0 + $1.loss } / Double(max(tokens, 1)) }
  /// Mean divergence from the dense run's next-token distribution, nats per token.
  package var divergence: Double? {
    comparison.map { max($0.divergences, 0) / Double(max(tokens, 1)) }
  }
  /// Share of the tokens whose likeliest successor is the dense run's.
  package var agreement: Double? {
    comparison.map { Double($0.agreements) / Double(max(tokens, 1)) }
  }
  /// e to the mean loss.
  package var perplexity: Double { exponential(meanLoss) }

  /// Standard error of the mean loss, in nats, from how it differs between windows, which may
  /// have different lengths; nil for a single window.
  ///
  /// √(W / (W − 1) · Σ (loss_w − mean · tokens_w)²) / tokens. Neighbouring windows of one text
  /// resemble each other, so this is rather too small.
  package var standardError: Double? {
    guard windows.count > 1 else { return nil }
    let mean = meanLoss
    let squares = windows.reduce(0.0) { sum, window in
      let deviation = window.loss - mean * Double(window.window.scored.count)
      return sum + deviation * deviation
    }
    let count = Double(windows.count)
    return (count / (count - 1) * squares).squareRoot() / Double(tokens)
  }

  /// Tokens read per second, the losses' share of the time included.
  package var tokensPerSecond: Double {
    let seconds = time / .seconds(1)
    return seconds > 0 ? Double(tokensRead) / seconds : 0
  }

  /// Bytes of weights and cache that a token read, on average.
  package var bytesPerToken: Double { Double(bytesRead) / Double(max(tokensRead, 1)) }
}

/// How far a measurement has come.
package struct EvaluationProgress: Hashable, Sendable {
  /// Steps done and to do, in tokens read.
  package let done: Int
  package let total: Int
  package let elapsed: Duration
  /// Mean loss so far, in nats.
  package let meanLoss: Double

  package init(done: Int, total: Int, elapsed: Duration, meanLoss: Double) {
    self.done = done
    self.total = total
    self.elapsed = elapsed
    self.meanLoss = meanLoss
  }

  /// Time that the rest takes at the pace so far.
  package var remaining: Duration {
    done > 0 ? elapsed * (Double(total - done) / Double(done)) : .zero
  }
}

/// A measurement that was asked for cannot be made.
@nonexhaustive
package enum EvaluationError: Error, Hashable, Sendable {
  /// The windows asked for do not fit the model, or have no room for a token.
  case contextOutOfRange(asked: Int, allowed: ClosedRange<Int>)
  /// A number that counts something is below one.
  case notPositive(what: String, found: Int)
  /// The model's tokenizer has no beginning-of-text token.
  case noBOS
  /// The text has no token that could be scored.
  case nothingToScore(tokens: Int)
  /// The text is shorter than one window.
  case shorterThanWindow(tokens: Int, length: Int)
}

extension EvaluationError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .contextOutOfRange(let asked, let allowed):
      "windows of \(asked) tokens were asked for; this model takes \(allowed.lowerBound) to "
        + "\(allowed.upperBound)"
    case .notPositive(let what, let found):
      "\(what) is \(found) but must be at least 1"
    case .noBOS:
      "windows should begin with a beginning-of-text token but the tokenizer has none; "
        + "leave the beginning out"
    case .nothingToScore(let tokens):
      "the text has \(tokens) tokens, none of which can be scored; take a longer text"
    case .shorterThanWindow(let tokens, let length):
      "the text has \(tokens) tokens and a window \(length), one of them put before the text; take "
        + "a longer text or shorter windows"
    }
  }
}
