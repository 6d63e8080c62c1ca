/// Failures of a device or of the memory behind it.
@nonexhaustive
public enum BackendError: Error, Hashable, Sendable {
  /// The device cannot be used at all.
  case unavailable(backend: String, reason: String)
  /// More memory was asked for than there is.
  case outOfMemory(what: String, bytes: Int)
  /// The logits of a step are not numbers; the weights or the arithmetic are broken.
  case nonFiniteLogits(position: Int)
  /// A sequence would outgrow its cache or the model's context.
  case contextExceeded(needed: Int, limit: Int)
  /// A token id that the model has no row for.
  case tokenOutOfRange(token: Int, vocabulary: Int)
}

extension BackendError: CustomStringConvertible {
  /// One sentence with both sides, for people.
  public var description: String {
    switch self {
    case .unavailable(let backend, let reason):
      "backend '\(backend)' cannot be used: \(reason)"
    case .outOfMemory(let what, let bytes):
      "no memory for \(what): \(bytes) bytes were asked for; choose a smaller model or context"
    case .nonFiniteLogits(let position):
      "non-finite logits at position \(position); the weights hold NaN or overflow the arithmetic"
    case .contextExceeded(let needed, let limit):
      "the sequence needs \(needed) positions but there is room for \(limit); "
        + "shorten the prompt or ask for fewer tokens"
    case .tokenOutOfRange(let token, let vocabulary):
      "token \(token) is outside 0..<\(vocabulary), the model's vocabulary"
    }
  }
}
