import DejaVuJSON

/// One field of a JSON file, which remembers where it stands so that errors can say it.
struct FileField {
  let file: String
  let path: String
  /// Nil where the file has no such field or says `null`.
  let value: JSON?

  init(file: String, path: String = "", value: JSON?) {
    self.file = file
    self.path = path
    self.value = if case .null? = value { nil } else { value }
  }

  var isAbsent: Bool { value == nil }

  func wrongType(_ expected: String) -> TokenizerError {
    .wrongType(
      file: file, field: path.isEmpty ? "the whole file" : path, expected: expected,
      found: value?.kind ?? "absent")
  }

  func unsupported(_ found: String, supported: String) -> TokenizerError {
    .unsupported(file: file, field: path, supported: supported, found: found)
  }

  /// The field of an object; an absent object has only absent fields.
  func member(_ key: String) throws(TokenizerError) -> FileField {
    let inner = path.isEmpty ? key : "\(path).\(key)"
    guard let value else { return FileField(file: file, path: inner, value: nil) }
    guard case .object = value else { throw wrongType("an object") }
    return FileField(file: file, path: inner, value: value[key])
  }

  func members() throws(TokenizerError) -> [JSONMember] {
    guard let members = value?.members else { throw wrongType("an object") }
    return members
  }

  func rawElements() throws(TokenizerError) -> [JSON] {
    guard let elements = value?.elements else { throw wrongType("an array") }
    return elements
  }

  func elements() throws(TokenizerError) -> [FileField] {
    try rawElements().enumerated().map { index, element in
      FileField(file: file, path: "\(path)[\(index)]", value: element)
    }
  }

  func bytes() throws(TokenizerError) -> ByteString {
    guard let bytes = value?.bytes else { throw wrongType("a string") }
    return bytes
  }

  func optionalBytes() throws(TokenizerError) -> ByteString? {
    isAbsent ? nil : try bytes()
  }

  func text() throws(TokenizerError) -> String { try bytes().text }

  func flag() throws(TokenizerError) -> Bool? {
    guard let value else { return nil }
    guard let flag = value.bool else { throw wrongType("true or false") }
    return flag
  }

  /// The `type` of an object that describes a step of the tokenizer.
  func type() throws(TokenizerError) -> String { try member("type").text() }

  func tokenID(of token: ByteString) throws(TokenizerError) -> TokenID {
    guard case .number(let number)? = value else { throw wrongType("a token id") }
    return try TokenID(number, of: token, file: file)
  }
}

extension TokenID {
  /// Ids stay below this, so that no arithmetic on them can overflow.
  static let limit = 1 << 24

  init(_ number: JSONNumber, of token: ByteString, file: String) throws(TokenizerError) {
    guard let id = number.integer, id >= 0, id < Self.limit else {
      throw .idOutOfRange(file: file, token: token.text, id: number.spelling, limit: Self.limit)
    }
    self = TokenID(id)
  }
}
