package import DejaVuModels

/// What training made, predictor by predictor.
package struct TrainingReport: Sendable {
  /// One predictor of the report.
  package struct Row: Sendable {
    package let entry: PredictorEntry
    package let byteCount: Int
    /// Share of the bytes of the layer's rows on this axis.
    package let byteShare: Double
  }

  package internal(set) var rows: [Row] = []
  /// Tokens that each predictor was trained on; a text that was read twice counts twice.
  package internal(set) var tokens = 0
  package internal(set) var trainingDocuments = 0
  package internal(set) var heldOutDocuments = 0
  package internal(set) var heldOutTokens = 0
  package internal(set) var seconds = 0.0
  /// What they went for, in this run alone.
  package internal(set) var spent = TrainingSeconds()
  /// Whether training continued from a stored state.
  package internal(set) var isResumed = false
  /// Whether the time ended it before the planned tokens were read.
  package internal(set) var isCutShort = false
}

/// Seconds of a training by what they went for.
package struct TrainingSeconds: Sendable {
  /// Thresholds, memory, the held-out text, and the text of a run that is continued.
  package var preparing = 0.0
  /// The model reads the text, and what its rows contribute is coded.
  package var collecting = 0.0
  /// Steps.
  package var training = 0.0
  /// Predictors are rounded and measured on the held-out text.
  package var scoring = 0.0
  /// Training waits for its state to be stored.
  package var saving = 0.0
}

/// How far training has come.
package struct TrainingProgress: Sendable {
  package let phase: String
  package let tokens: Int
  /// Zero until the speed of this machine is known.
  package let plannedTokens: Int
  package let loss: Double
  /// Covered mass at the last scoring by layer, of the axis that is named.
  package let axis: RowAxis?
  package let coveredMass: [Double]
  package let remainingSeconds: Double?
  /// Of the rounds so far, scoring and saving apart.
  package var tokensPerSecond: Double?
}
