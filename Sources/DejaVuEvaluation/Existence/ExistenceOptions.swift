package import DejaVuModels

/// How much of a text every question of an existence study may read.
package struct ExistenceOptions: Codable, Hashable, Sendable {
  /// Windows that are measured on, and tokens of each, a first token included.
  package var windows = 4
  package var length = 256
  /// Windows that static and non-contextual choosers learn from.
  package var lessonWindows = 24
  /// Of the measured windows, those that the two-pass check decodes.
  package var twoPassWindows = 2
  /// Windows and tokens that attention is looked at in.
  package var attentionWindows = 2
  package var attentionLength = 128
  /// Share of the rows that sets of equal density hold.
  package var neuronDensity = 0.1
  package var headDensity = 0.5
  /// Shares of a token's contributions that the two-pass check keeps, ascending.
  package var keptMasses = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999]
  /// Share of next tokens that must stay the same.
  package var agreement = 0.99
  /// Of random rows and random weights.
  package var seed: UInt64 = 1

  package init() {}

  /// Share of an axis' rows in sets of equal density.
  package func density(_ axis: RowAxis) -> Double {
    axis == .heads ? headDensity : neuronDensity
  }
}
