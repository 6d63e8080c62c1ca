package import DejaVuCore

/// A text whose end is scored.
package struct ScoredText: Hashable, Sendable {
  /// Context and continuation.
  package let tokens: [TokenID]
  /// Index of the continuation's first token; at least 1, since nothing foretells the first token.
  package let first: Int

  package init(tokens: [TokenID], first: Int) {
    precondition(first >= 1 && first <= tokens.count, "\(first) of \(tokens.count) tokens")
    self.tokens = tokens
    self.first = first
  }

  /// Tokens that all texts begin with, before the last one of any context: that one has to be read
  /// with its logits.
  package static func sharedTokens(of texts: [ScoredText]) -> Int {
    guard let model = texts.first?.tokens else { return 0 }
    return texts.reduce(model.count) { shared, text in
      let limit = min(shared, text.first - 1)
      return zip(model, text.tokens).prefix(limit).enumerated()
        .first { $0.element.0 != $0.element.1 }?.offset ?? limit
    }
  }
}

/// How likely a model finds a continuation.
package struct ContinuationScore: Hashable, Sendable {
  /// Σ ln p of its tokens, each given everything before it.
  package let logProbability: Double
  /// Whether decoding greedily gives it.
  package let isGreedy: Bool
  /// How many tokens it has.
  package let tokens: Int

  package init(logProbability: Double, isGreedy: Bool, tokens: Int) {
    self.logProbability = logProbability
    self.isGreedy = isGreedy
    self.tokens = tokens
  }

  /// The score of these tokens together.
  package init(_ scores: [TokenScore]) {
    self.init(
      logProbability: scores.reduce(0) { $0 + $1.logProbability },
      isGreedy: scores.allSatisfy(\.isGreedy), tokens: scores.count)
  }
}

/// Which tokens of a scored text are run under the session's plan.
package enum ActingPositions: String, Hashable, Sendable, CaseIterable {
  /// Every one, context included: what a plan costs.
  case everywhere
  /// Those of the continuation; the context is read dense, as a prompt is. The first scored token is
  /// then foretold by a dense step.
  case continuation
}

extension Session {
  /// Scores the ends of several texts; what the texts begin with in common is read once.
  ///
  /// - Parameters:
  ///   - texts: continuations of what the session holds; they may share a context or not.
  ///   - path: how tokens are read; with `continuation`, how those of the continuation are.
  ///   - positions: where the session's mode applies; the other tokens are read dense.
  /// - Returns: for each text the scores of `tokens[first...]`.
  /// - Throws: ``BackendError``.
  /// - Postcondition: the session holds the positions that it held before, and has the same mode.
  package func scores(
    endsOf texts: [ScoredText], path: ScoringPath = .prompt,
    positions: ActingPositions = .everywhere
  ) throws(BackendError) -> [[TokenScore]] {
    let (start, mode) = (count, mode)
    defer {
      truncate(to: start)
      self.mode = mode
    }
    let shared = ScoredText.sharedTokens(of: texts)
    let prefix = texts.first?.tokens[..<shared] ?? []
    if positions == .continuation { self.mode = .dense }
    try read(prefix, path: positions == .continuation ? .prompt : path)
    var scores: [[TokenScore]] = []
    for text in texts {
      truncate(to: start + shared)
      switch positions {
      case .everywhere:
        scores.append(
          try self.scores(
            of: Array(text.tokens[shared...]), from: text.first - shared, path: path))
      case .continuation:
        scores.append(try self.scores(behindDense: text, from: shared, path: path, mode: mode))
      }
    }
    return scores
  }

  /// Reads the rest of a context dense, and its continuation in `mode`.
  private func scores(
    behindDense text: ScoredText, from shared: Int, path: ScoringPath, mode: RunMode
  ) throws(BackendError) -> [TokenScore] {
    guard text.first < text.tokens.count else { return [] }
    var scores: [TokenScore] = []
    self.mode = .dense
    try run(text.tokens[shared..<text.first], wanted: .last) { _, logits in
      scores.append(TokenScore(text.tokens[text.first], given: logits))
    }
    self.mode = mode
    return scores
      + (try self.scores(of: Array(text.tokens[text.first...]), from: 1, path: path))
  }

  private func read(_ tokens: ArraySlice<TokenID>, path: ScoringPath) throws(BackendError) {
    switch path {
    case .prompt: try run(tokens, wanted: .none) { _, _ in }
    case .decode: for token in tokens { _ = try decode(token) }
    }
  }
}
