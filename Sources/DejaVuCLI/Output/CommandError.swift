import DejaVu
import DejaVuFormats
import Foundation

/// What goes wrong in the commands themselves; everything below them has its own errors.
enum CommandError: Error, Hashable, CustomStringConvertible {
  case noDefaultModel
  /// A file that a command reads, other than a model's, with the system's error number.
  case unreadable(path: String, code: Int32)
  /// Standard output or standard input does not work.
  case stream(name: String, reason: String)
  case promptTooLarge(limit: Int)
  /// No plan of this name lies beside the model.
  case noPlan(name: String, folder: String, known: [String])
  /// Two folders that should hold the same weights, by their fingerprints.
  case differentModels(folder: String, fingerprint: String, other: String, otherFingerprint: String)
  /// A file that should hold the runs of a comparison.
  case noRuns(path: String, reason: String)
  /// The user pressed Ctrl-C, or the system asked to end.
  case interrupted(signal: Int32)

  var description: String {
    switch self {
    case .noDefaultModel:
      "no model was found: '\(DefaultModel.relativePath)' is neither beside the program nor above it; "
        + "name a model with --model or \(DefaultModel.variable)"
    case .unreadable(let path, let code):
      "cannot read '\(escaped(path))': \(String(cString: strerror(code)))"
    case .stream(let name, let reason): "\(name): \(reason)"
    case .promptTooLarge(let limit):
      "the prompt on standard input is longer than \(Quantity.bytes(limit)); shorten it"
    case .noPlan(let name, let folder, let known):
      "there is no plan '\(escaped(name))' beside '\(escaped(folder))'; "
        + (known.isEmpty
          ? "it has none: make one with 'dejavu calibrate'"
          : "take one of \(known.map(escaped).joined(separator: ", "))")
    case .differentModels(let folder, let fingerprint, let other, let otherFingerprint):
      "'\(escaped(folder))' holds the model \(fingerprint.prefix(12)) and '\(escaped(other))' "
        + "\(otherFingerprint.prefix(12)); make the second of the first with 'dejavu pack'"
    case .noRuns(let path, let reason):
      "'\(escaped(path))' is no result of 'dejavu eval --plan ... --json' that fits: \(reason)"
    case .interrupted: "interrupted"
    }
  }
}
