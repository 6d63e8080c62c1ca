/// What a model's files say against what they should say.
///
/// Every case carries both sides of the disagreement; `description` is one sentence that ends in
/// what to do. Text that comes from a file is escaped before it is shown.
@nonexhaustive
public enum CheckpointError: Error, Hashable, Sendable {
  /// Nothing readable is there: missing, a directory, a device, no permission.
  case unreadable(path: String, reason: String)
  /// The file's structure is broken, at a byte if one can be named.
  case malformed(file: String, reason: String)
  /// A tensor's entry contradicts itself, its neighbours or the file.
  case invalidTensor(file: String, name: String, reason: String)
  /// A field of a JSON file has a value that the model cannot have.
  case invalidField(file: String, field: String, found: String, expected: String)
  /// The stored shape is not the one that `config.json` implies.
  case shapeMismatch(name: String, expected: [Int], found: [Int])
  /// `config.json` implies a tensor that no file holds.
  case missingTensor(name: String, folder: String)
  /// The index and the shards disagree about where a tensor lies.
  case misplacedTensor(name: String, expected: String, found: String)
  /// An architecture this version does not run.
  case unsupportedArchitecture(found: String, supported: [String])
  /// A `pytorch_model.bin` uses something outside the closed list of what is understood.
  case forbiddenPickle(file: String, what: String)
  /// Well-formed, but of a kind that this version does not read.
  case unsupported(file: String, reason: String)
  /// Writing failed; nothing half-written was left behind.
  case unwritable(path: String, reason: String)
}

extension CheckpointError: CustomStringConvertible {
  /// One sentence with both sides that ends in what to do; safe to show on a terminal.
  public var description: String {
    switch self {
    case .unreadable(let path, let reason):
      "cannot read '\(escaped(path))': \(reason)"
    case .malformed(let file, let reason):
      "'\(escaped(file))' is damaged: \(escaped(reason)); download or convert it again"
    case .invalidTensor(let file, let name, let reason):
      "tensor '\(escaped(name))' in '\(escaped(file))' is invalid: \(reason); "
        + "download or convert it again"
    case .invalidField(let file, let field, let found, let expected):
      "'\(escaped(field))' in '\(escaped(file))' is \(escaped(found)) but must be \(expected)"
    case .shapeMismatch(let name, let expected, let found):
      "tensor '\(escaped(name))' is \(found) in the file but config.json implies \(expected); "
        + "the configuration and the weights belong to different models"
    case .missingTensor(let name, let folder):
      "tensor '\(escaped(name))' is implied by config.json but no file in '\(escaped(folder))' "
        + "holds it; the checkpoint is incomplete"
    case .misplacedTensor(let name, let expected, let found):
      "tensor '\(escaped(name))' should be in '\(escaped(expected))' by the index but is in "
        + "'\(escaped(found))'; download the index and its shards again"
    case .unsupportedArchitecture(let found, let supported):
      "architecture '\(escaped(found))' is not supported; this version runs "
        + supported.joined(separator: ", ")
    case .forbiddenPickle(let file, let what):
      "'\(escaped(file))' contains \(escaped(what)), which a plain checkpoint never needs; "
        + "it was refused and nothing in it was executed"
    case .unsupported(let file, let reason):
      "'\(escaped(file))' cannot be used: \(escaped(reason))"
    case .unwritable(let path, let reason):
      "cannot write '\(escaped(path))': \(reason)"
    }
  }
}

/// `text` with control characters spelled out and its length bounded, safe for a terminal.
///
/// Characters that break a line or turn the direction of writing count as control characters.
package func escaped(_ text: String) -> String {
  var result = ""
  for scalar in text.unicodeScalars.prefix(256) {
    switch scalar.value {
    case 0..<0x20, 0x7F..<0xA0, 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069:
      result += "\\u{\(String(scalar.value, radix: 16))}"
    default:
      result.unicodeScalars.append(scalar)
    }
  }
  return text.unicodeScalars.count > 256 ? result + "…" : result
}
