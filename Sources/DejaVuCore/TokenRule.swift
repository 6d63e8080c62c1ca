/// How a step's next token is chosen, where the device can do that by itself.
///
/// Devices need not agree in the last bit of a weight. Given the same logits, each takes the likeliest
/// token, the first of equals, where `temperature` is 0; and draws by the number that `seed` gives for the
/// token's position, so that two devices draw different tokens only where that number falls within 2^-24 of
/// the border between two.
package struct TokenRule: Hashable, Sendable {
  /// What logits are divided by; 0 takes the likeliest token.
  package let temperature: Float
  /// How far below the greatest logit others may lie.
  package let span: Float
  /// Only this many of the likeliest tokens are kept; 0 keeps all.
  package let keep: Int
  /// Only the fewest of the likeliest that hold this share of the weight are kept; 1 keeps all.
  package let share: Double
  package let seed: UInt64

  /// The likeliest token.
  package static let likeliest = TokenRule(temperature: 0, span: 0, keep: 0, share: 1, seed: 0)

  package init(temperature: Float, span: Float, keep: Int, share: Double, seed: UInt64) {
    self.temperature = temperature
    self.span = span
    self.keep = keep
    self.share = share
    self.seed = seed
  }
}
