package import DejaVuCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// How a text that is already known is read: both give the same logits, one is faster.
package enum ScoringPath: String, CaseIterable, Hashable, Sendable {
  /// In batches, as a prompt is.
  case prompt
  /// Token by token, as generated text is.
  case decode
}

/// How likely a model finds one token of a given text, where it stands.
package struct TokenScore: Hashable, Sendable {
  package let token: TokenID
  /// ln p(token | everything before it).
  package let logProbability: Double
  /// Whether no token is more likely; of equals the first counts.
  package let isGreedy: Bool
  /// The most likely tokens in this place, likeliest first, as many as were asked for.
  package let alternatives: [Alternative]

  /// A token that could have stood in the place.
  package struct Alternative: Hashable, Sendable {
    package let token: TokenID
    package let logProbability: Double
  }
}

extension Session {
  /// Continues the sequence by all but the last of `tokens`, and calls `read` with the logits that
  /// foretell each of `tokens[first...]`.
  ///
  /// - Parameters:
  ///   - tokens: the text, which continues what the session already holds.
  ///   - first: at least 1, since nothing foretells the first token.
  ///   - path: in batches or token by token; both give the same logits.
  ///   - read: called in order with an index into `tokens` and the logits `[V]`, valid during
  ///     the call.
  /// - Throws: ``BackendError``.
  package func foretell(
    _ tokens: [TokenID], from first: Int, path: ScoringPath,
    _ read: (_ index: Int, _ logits: UnsafeBufferPointer<Float>) -> Void
  ) throws(BackendError) {
    precondition(first >= 1, "nothing foretells token \(first) of a text")
    guard first < tokens.count else { return }
    switch path {
    case .prompt:
      try run(tokens[..<(first - 1)], wanted: .none) { _, _ in }
      try run(tokens[(first - 1)..<(tokens.count - 1)], wanted: .all) { read(first + $0, $1) }
    case .decode:
      for index in 1..<tokens.count {
        let logits = try decode(tokens[index - 1])
        if index >= first { read(index, logits) }
      }
    }
  }

  /// The scores of `tokens[first...]`, each given everything before it.
  ///
  /// - Parameters:
  ///   - tokens: the text, which continues what the session already holds.
  ///   - first: at least 1, since nothing foretells the first token.
  ///   - path: in batches or token by token; both give the same logits.
  ///   - alternatives: how many of the most likely tokens are named in each place.
  /// - Returns: `tokens.count − first` scores in the order of the text; none where that is negative.
  /// - Throws: ``BackendError``.
  package func scores(
    of tokens: [TokenID], from first: Int = 1, path: ScoringPath = .prompt, alternatives: Int = 0
  ) throws(BackendError) -> [TokenScore] {
    var scores: [TokenScore] = []
    scores.reserveCapacity(max(tokens.count - first, 0))
    try foretell(tokens, from: first, path: path) { index, logits in
      scores.append(TokenScore(tokens[index], given: logits, alternatives: alternatives))
    }
    return scores
  }
}

extension TokenScore {
  /// - Precondition: `token` is an index of `logits`.
  package init(_ token: TokenID, given logits: UnsafeBufferPointer<Float>, alternatives: Int = 0) {
    let logarithm = logSumExp(logits)
    self.token = token
    logProbability = Double(logits[Int(token)]) - logarithm
    isGreedy = argmax(logits) == Int(token)
    self.alternatives = likeliest(alternatives, of: logits).map {
      Alternative(token: TokenID($0), logProbability: Double(logits[$0]) - logarithm)
    }
  }
}

/// Indices of the `count` greatest logits, greatest first, the first of equals before the others.
package func likeliest(_ count: Int, of logits: UnsafeBufferPointer<Float>) -> [Int] {
  guard count > 0 else { return [] }
  var kept: [Int] = []
  for index in logits.indices {
    if kept.count == count {
      guard let last = kept.last, logits[index] > logits[last] else { continue }
      kept.removeLast()
    }
    let place = kept.firstIndex { logits[$0] < logits[index] } ?? kept.count
    kept.insert(index, at: place)
  }
  return kept
}

/// ln p(token) under the softmax of `logits`.
package func logProbability(
  of token: TokenID, given logits: UnsafeBufferPointer<Float>
) -> Double {
  Double(logits[Int(token)]) - logSumExp(logits)
}

/// ln Σ exp(logits), in double precision, safe from overflow.
package func logSumExp(_ logits: UnsafeBufferPointer<Float>) -> Double {
  guard let greatest = logits.max(), greatest.isFinite else { return -.infinity }
  let shift = Double(greatest)
  var sum = 0.0
  for logit in logits { sum += exp(Double(logit) - shift) }
  return shift + log(sum)
}
