import DejaVu
import DejaVuCore
import DejaVuEvaluation
import DejaVuFormats
import DejaVuModels
import DejaVuQuantization
import DejaVuTokenizers
import DejaVuTraining
import Foundation

/// What the program's exit code says, by `sysexits.h`.
struct ExitStatus: RawRepresentable, Hashable {
  let rawValue: Int32

  static let success = ExitStatus(rawValue: 0)
  static let usage = ExitStatus(rawValue: 64)
  /// The model's files, or the prompt, cannot be used.
  static let badInput = ExitStatus(rawValue: 65)
  static let missing = ExitStatus(rawValue: 66)
  static let unavailable = ExitStatus(rawValue: 69)
  static let bug = ExitStatus(rawValue: 70)
  static let inputOutput = ExitStatus(rawValue: 74)
  static let permission = ExitStatus(rawValue: 77)

  init(rawValue: Int32) { self.rawValue = rawValue }

  /// The status for an error of any layer; what is not known is a bug.
  init(_ error: any Error) {
    switch error {
    case let error as CommandError: self = Self.status(error)
    case let error as CheckpointError: self = Self.status(error)
    case let error as TokenizerError: self = Self.status(error)
    case let error as BackendError: self = Self.status(error)
    case is TokenizerModelMismatch, is EvaluationError, is TrainingError, is CalibrationError,
      is ReportError:
      self = .badInput
    case QuantizationError.noText: self = .usage
    case is QuantizationError: self = .badInput
    case let error as PlanError: self = Self.status(error)
    case let error as PredictorError: self = Self.status(error)
    case let error as SelectorError: self = Self.status(error)
    case let error as TaskError: self = Self.status(error)
    case let error as TextError: self = Self.status(error)
    default: self = .bug
    }
  }

  private static func status(_ error: CommandError) -> ExitStatus {
    switch error {
    case .noDefaultModel, .noPlan: .missing
    case .unreadable(_, EACCES), .unreadable(_, EPERM): .permission
    case .unreadable(_, EIO): .inputOutput
    case .unreadable: .missing
    case .stream: .inputOutput
    case .promptTooLarge, .differentModels, .noRuns: .badInput
    case .interrupted(let signal): ExitStatus(rawValue: 128 + signal)
    }
  }

  private static func status(_ error: TextError) -> ExitStatus {
    switch error {
    case .unreadable("-", _): .inputOutput
    case .unreadable(_, EACCES), .unreadable(_, EPERM): .permission
    case .unreadable(_, EIO): .inputOutput
    case .unreadable: .missing
    case .compressed(_, .noLibrary): .unavailable
    default: .badInput
    }
  }

  private static func status(_ error: CheckpointError) -> ExitStatus {
    switch error {
    case .unreadable(_, let reason): isDenied(reason) ? .permission : .missing
    case .unwritable(_, let reason): isDenied(reason) ? .permission : .inputOutput
    default: .badInput
    }
  }

  private static func status(_ error: PredictorError) -> ExitStatus {
    switch error {
    case .unreadable(_, let reason): isDenied(reason) ? .permission : .missing
    case .unwritable(_, let reason): isDenied(reason) ? .permission : .inputOutput
    default: .badInput
    }
  }

  private static func status(_ error: SelectorError) -> ExitStatus {
    switch error {
    case .nothingToChoose, .axisNotChosen, .noCalibration: .usage
    case .notTrained: .missing
    default: .unavailable
    }
  }

  private static func status(_ error: TaskError) -> ExitStatus {
    switch error {
    case .noData: .missing
    case .unreadable(_, let reason): isDenied(reason) ? .permission : .missing
    case .unwritable(_, let reason): isDenied(reason) ? .permission : .inputOutput
    case .journalInUse: .unavailable
    default: .badInput
    }
  }

  private static func status(_ error: PlanError) -> ExitStatus {
    switch error {
    case .noPlans, .unknown: .missing
    default: .badInput
    }
  }

  private static func status(_ error: TokenizerError) -> ExitStatus {
    switch error {
    case .noTokenizer: .missing
    case .unreadableFile(let path, _):
      access(path, R_OK) != 0 && errno == EACCES ? .permission : .missing
    default: .badInput
    }
  }

  private static func status(_ error: BackendError) -> ExitStatus {
    switch error {
    case .unavailable, .outOfMemory: .unavailable
    case .nonFiniteLogits, .contextExceeded: .badInput
    default: .bug
    }
  }

  /// Whether a reason is the system's own sentence for a missing permission.
  private static func isDenied(_ reason: String) -> Bool {
    [EACCES, EPERM, EROFS].contains { reason == String(cString: strerror($0)) }
  }
}
