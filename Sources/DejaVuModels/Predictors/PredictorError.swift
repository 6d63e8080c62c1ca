import DejaVuFormats

/// What a predictor file says against what it should say.
///
/// Every case carries both sides of the disagreement; `description` is one sentence that ends in
/// what to do.
@nonexhaustive
public enum PredictorError: Error, Hashable, Sendable {
  /// Nothing readable is there.
  case unreadable(path: String, reason: String)
  /// The file's structure is broken, or it contradicts itself.
  case damaged(path: String, reason: String)
  /// The predictors were trained on another model.
  case foreign(path: String, expected: String, found: String)
  /// A version of the format that this program does not read.
  case unsupported(path: String, found: String, supported: String)
  /// A tensor's shape is not the one that its entry and the model imply.
  case shapeMismatch(path: String, tensor: String, expected: [Int], found: [Int])
  /// An entry has a value that no predictor of this model can have.
  case invalidEntry(path: String, entry: Int, field: String, found: String, expected: String)
  /// A plan parts codes into halves that these weights do not have.
  case unsuited(path: String, plan: String, calibrated: String, found: String)
  /// Writing failed; what had the name still has it.
  case unwritable(path: String, reason: String)
}

extension PredictorError: CustomStringConvertible {
  /// One sentence that ends in what to do.
  public var description: String {
    switch self {
    case .unreadable(let path, let reason):
      "cannot read the predictors '\(escaped(path))': \(escaped(reason)); make them with "
        + "'dejavu train'"
    case .damaged(let path, let reason):
      "the predictors '\(escaped(path))' are damaged: \(escaped(reason)); train them again"
    case .foreign(let path, let expected, let found):
      "the predictors '\(escaped(path))' belong to the model \(escaped(found)), not to this one, "
        + "\(escaped(expected)); train predictors for this model"
    case .unsupported(let path, let found, let supported):
      "the predictors '\(escaped(path))' have version '\(escaped(found))' and this program reads "
        + "version \(supported); train them again"
    case .shapeMismatch(let path, let tensor, let expected, let found):
      "tensor '\(escaped(tensor))' of the predictors '\(escaped(path))' is \(found) but the model "
        + "implies \(expected); train them again"
    case .invalidEntry(let path, let entry, let field, let found, let expected):
      "entry \(entry) of the predictors '\(escaped(path))' has \(escaped(found)) for "
        + "'\(escaped(field))', not \(expected); train them again"
    case .unsuited(let path, let plan, let calibrated, let found):
      "plan '\(escaped(plan))' in '\(escaped(path))' chooses neurons by the high bits of "
        + "\(escaped(calibrated)) codes, and these weights are \(escaped(found)); make a plan for them "
        + "with 'dejavu calibrate'"
    case .unwritable(let path, let reason):
      "cannot write the predictors '\(escaped(path))': \(escaped(reason)); choose another place "
        + "with --out"
    }
  }
}

extension PredictorError {
  /// The error of the file format underneath, in the words of predictors.
  init(_ error: CheckpointError, path: String) {
    switch error {
    case .unreadable(_, let reason): self = .unreadable(path: path, reason: reason)
    case .unwritable(_, let reason): self = .unwritable(path: path, reason: reason)
    case .malformed(_, let reason), .unsupported(_, let reason):
      self = .damaged(path: path, reason: reason)
    case .invalidTensor(_, let name, let reason):
      self = .damaged(path: path, reason: "tensor '\(name)': \(reason)")
    default: self = .damaged(path: path, reason: error.description)
    }
  }
}
