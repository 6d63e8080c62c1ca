/// Why a tokenizer could not be loaded: what its files say against what they should say.
@nonexhaustive
public enum TokenizerError: Error, Hashable, Sendable {
  /// The folder holds neither `tokenizer.json` nor `vocab.json` with `merges.txt`.
  case noTokenizer(folder: String)
  /// A file is there but cannot be read.
  case unreadableFile(path: String, reason: String)
  /// A file is larger than any tokenizer needs.
  case fileTooLarge(path: String, bytes: Int, limit: Int)
  /// A file is not JSON.
  case malformedJSON(file: String, reason: String, byteOffset: Int)
  /// A field is absent, or holds another kind of value.
  case wrongType(file: String, field: String, expected: String, found: String)
  /// A field asks for something that this package does not do.
  case unsupported(file: String, field: String, supported: String, found: String)
  /// A token id is negative or beyond the limit.
  case idOutOfRange(file: String, token: String, id: String, limit: Int)
  /// Two tokens share one id.
  case duplicateID(file: String, id: TokenID, tokens: [String])
  /// One token has two ids.
  case conflictingIDs(file: String, token: String, ids: [TokenID])
  /// A byte has no token, so that some texts could not be encoded.
  case missingByte(file: String, byte: UInt8)
  /// A merge rule is not a pair of tokens.
  case malformedMerge(file: String, rule: Int, found: String)
  /// A merge rule takes or makes a token that the vocabulary does not hold.
  case mergeOfUnknownToken(file: String, rule: Int, merge: [String], unknown: String)
  /// A special token is named but is not in the vocabulary.
  case unknownSpecialToken(file: String, field: String, token: String)
}

extension TokenizerError: CustomStringConvertible {
  /// One sentence that ends in what to do.
  public var description: String {
    switch self {
    case .noTokenizer(let folder):
      "'\(folder)' holds neither tokenizer.json nor vocab.json with merges.txt; \(download)"
    case .unreadableFile(let path, let reason):
      "'\(path)' cannot be read (\(reason)); check the path and its permissions"
    case .fileTooLarge(let path, let bytes, let limit):
      "'\(path)' has \(bytes) bytes where \(limit) are allowed; check that it is a tokenizer file"
    case .malformedJSON(let file, let reason, let byteOffset):
      "\(file) is not JSON: \(reason) at byte \(byteOffset); \(download)"
    case .wrongType(let file, let field, let expected, let found):
      "\(file): '\(field)' should be \(expected) but is \(found); \(download)"
    case .unsupported(let file, let field, let supported, let found):
      "\(file): '\(field)' is \(quoted(found)) but only \(supported) is supported; "
        + "use a model with such a tokenizer"
    default: contentDescription
    }
  }

  /// The sentences about tokens, ids and merges.
  private var contentDescription: String {
    switch self {
    case .idOutOfRange(let file, let token, let id, let limit):
      "\(file): token \(quoted(token)) has the id \(id), which is not in 0..<\(limit); \(download)"
    case .duplicateID(let file, let id, let tokens):
      "\(file): the id \(id) belongs to \(list(tokens)); \(download)"
    case .conflictingIDs(let file, let token, let ids):
      "\(file): token \(quoted(token)) has the ids \(ids); \(download)"
    case .missingByte(let file, let byte):
      "\(file): no token stands for the byte \(byte), but all 256 are needed; "
        + "use a model with a byte-level vocabulary"
    case .malformedMerge(let file, let rule, let found):
      "\(file): merge rule \(rule) is \(quoted(found)) but should be two tokens; \(download)"
    case .mergeOfUnknownToken(let file, let rule, let merge, let unknown):
      "\(file): merge rule \(rule), \(list(merge)), needs the token \(quoted(unknown)), "
        + "which the vocabulary lacks; \(download)"
    case .unknownSpecialToken(let file, let field, let token):
      "\(file): '\(field)' is \(quoted(token)), which the vocabulary lacks; "
        + "correct the name or \(download)"
    default: "the tokenizer cannot be loaded; \(download)"
    }
  }

  private var download: String { "download the model's tokenizer files again" }

  private func list(_ texts: [String]) -> String {
    texts.map(quoted).joined(separator: " and ")
  }

  /// A file's text between quotes: shortened, and with control characters escaped.
  private func quoted(_ text: String) -> String {
    var shown = ""
    for scalar in text.unicodeScalars.prefix(120) {
      shown +=
        scalar.properties.generalCategory == .control
        ? scalar.escaped(asASCII: true) : String(Character(scalar))
    }
    return "'\(shown)\(text.unicodeScalars.count > 120 ? "…" : "")'"
  }
}
