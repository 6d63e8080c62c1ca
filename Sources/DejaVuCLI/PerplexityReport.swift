import DejaVu
import DejaVuEvaluation
import DejaVuModels
import Foundation

/// A measured perplexity as `dejavu eval` prints it.
struct PerplexityReport {
  private let result: PerplexityResult
  private let model: String
  private let fingerprint: String
  private let isSynthetic: Bool
  private let provenance: Provenance
  private let format: TextFormat

  init(_ result: PerplexityResult, _ subject: EvaluationSubject, format: TextFormat) {
    self.result = result
    model = subject.folder
    fingerprint = subject.model.loaded.fingerprint
    isSynthetic = subject.model.loaded.isSynthetic
    provenance = subject.provenance
    self.format = format
  }

  /// For people.
  var text: String {
    func number(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }
    let error = result.standardError.map { " ± \(number($0, 4))" } ?? ""
    let machine = provenance.machine
    let place = machine.backend == "cpu" ? "\(machine.threads) threads" : machine.backend
    let against = result.divergence.map { divergence in
      "\ndense       KL \(number(divergence, 6)) nats per token, "
        + "\(number(100 * (result.agreement ?? 1), 2)) % of the greedy choices the same"
    }
    let bos = result.plan.beginsWithBOS ? "each begins with the beginning-of-text token" : "no BOS"
    return """
      perplexity  \(number(result.perplexity, 4))
      loss        \(number(result.meanLoss, 4))\(error) nats per token
      tokens      \(result.tokens) in \(result.windows.count) windows of \(result.plan.context), \
      stride \(result.plan.stride); \(bos); \(format.rawValue) text
      model       \(model), \(result.mode.rawValue), \(result.path.rawValue) path, \(place)
      speed       \(number(result.tokensPerSecond, 1)) tokens/s, \
      \(number(result.bytesPerToken / 1e6, 2)) MB read per token
      """ + (against ?? "")
  }

  /// For programs, on one line; `Documentation/JSON.md` says what the keys mean.
  func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }
}

extension PerplexityReport: Encodable {
  private enum Key: String, CodingKey {
    case schema, model, fingerprint, synthetic, mode, path, context, stride, bos, windows, tokens
    case nll, perplexity
    case standardError = "standard_error"
    case tokensPerSecond = "tokens_per_second"
    case bytesPerToken = "bytes_per_token"
    case commit, version, machine
    case textFormat = "text_format"
    case divergence
    case sameChoice = "same_choice"
    case windowLosses = "window_losses"
  }

  /// Where a window's scored tokens lie in the text, and their loss.
  private struct Window: Encodable {
    let document: Int
    let first: Int
    let tokens: Int
    let nll: Double
  }

  func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Key.self)
    try values.encode("dejavu/eval/1", forKey: .schema)
    try values.encode(model, forKey: .model)
    try values.encode(fingerprint, forKey: .fingerprint)
    try values.encode(isSynthetic, forKey: .synthetic)
    try values.encode(result.mode.rawValue, forKey: .mode)
    try values.encode(result.path.rawValue, forKey: .path)
    try values.encode(result.plan.context, forKey: .context)
    try values.encode(result.plan.stride, forKey: .stride)
    try values.encode(result.plan.beginsWithBOS, forKey: .bos)
    try values.encode(result.windows.count, forKey: .windows)
    try values.encode(result.tokens, forKey: .tokens)
    try values.encode(result.meanLoss, forKey: .nll)
    try values.encode(result.perplexity, forKey: .perplexity)
    try values.encode(result.standardError, forKey: .standardError)
    try values.encode(result.tokensPerSecond, forKey: .tokensPerSecond)
    try values.encode(result.bytesPerToken, forKey: .bytesPerToken)
    try values.encode(result.divergence, forKey: .divergence)
    try values.encode(result.agreement, forKey: .sameChoice)
    try values.encode(provenance.commit, forKey: .commit)
    try values.encode(provenance.version, forKey: .version)
    try values.encode(provenance.machine, forKey: .machine)
    try values.encode(format.rawValue, forKey: .textFormat)
    let losses = result.windows.map {
      Window(
        document: $0.window.document, first: $0.window.scored.lowerBound,
        tokens: $0.window.scored.count, nll: $0.mean)
    }
    try values.encode(losses, forKey: .windowLosses)
  }
}
