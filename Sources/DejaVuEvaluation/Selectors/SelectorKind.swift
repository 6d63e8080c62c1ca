package import DejaVuModels

/// Who chooses the rows of a run in a comparison.
package enum SelectorKind: String, Hashable, Sendable, CaseIterable {
  /// Nobody: every row is read.
  case dense
  /// All up rows, and the down rows of neurons that are not zero: lossless for ReLU.
  case exact
  /// The choosers of plans: of neurons a shadow of W1 in 4 bits behind the attention, of heads the
  /// trained predictors.
  case predicted
  /// Trained low-rank predictors, of neurons as of heads.
  case lowRank = "low-rank"
  /// The greatest true contributions.
  case oracle
  /// The same rows for every token: those of the greatest mass over calibration text.
  case `static`
  /// From the token's embedding alone, by linear scores fitted on calibration text.
  case nonContextual = "non-contextual"
  /// The neurons of the greatest w · x + b, by reading all of W1.
  case nearest
  /// Another seeded random set for every token.
  case random

  /// Whether it needs calibration text.
  package var needsCalibration: Bool { self == .static || self == .nonContextual }
}

/// A selector that was asked for cannot be had.
@nonexhaustive
package enum SelectorError: Error, Hashable, Sendable {
  /// Densities of 1 on both axes leave nothing to choose.
  case nothingToChoose(SelectorKind)
  /// The selector has no way to choose rows of this axis.
  case axisNotChosen(SelectorKind, RowAxis)
  /// There are no trained predictors for all layers.
  case notTrained(SelectorKind, RowAxis, folder: String)
  /// It learns from calibration text, and none was given.
  case noCalibration(SelectorKind)
  /// It needs kernels of the CPU.
  case notOnCPU(SelectorKind)
}

extension SelectorError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .nothingToChoose(let kind):
      "'\(kind.rawValue)' chooses rows, but every neuron and every head is asked for; "
        + "give --mlp-density, --head-density or both"
    case .axisNotChosen(let kind, let axis):
      "'\(kind.rawValue)' cannot choose \(axis.rawValue), but a density of them is asked for; "
        + "leave out the selector or the density"
    case .notTrained(let kind, let axis, let folder):
      "'\(kind.rawValue)' needs trained predictors of \(axis.rawValue) for every layer, and "
        + "\(folder) has none; make them with 'dejavu train' or leave the selector out"
    case .noCalibration(let kind):
      "'\(kind.rawValue)' learns from calibration text, and there is none; add --calibration FILE, "
        + "a text that the model is not judged on"
    case .notOnCPU(let kind):
      "'\(kind.rawValue)' runs on the CPU backend only; choose that backend"
    }
  }
}
