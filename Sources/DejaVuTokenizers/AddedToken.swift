import DejaVuJSON

/// A token that is looked for in the text itself, before the text is cut into words.
struct AddedToken: Hashable, Sendable {
  let id: TokenID
  let content: ByteString
  /// Whether it steers the model and is no text of its own.
  var isSpecial = true
  /// Whether it counts only between non-word characters.
  var isSingleWord = false
  /// Whether it swallows the whitespace before it.
  var stripsLeft = false
  /// Whether it swallows the whitespace after it.
  var stripsRight = false
  /// Whether it is looked for in the normalized text.
  var isNormalized = false

  /// The longest text that a token may have, which bounds the cost of looking for it.
  static let lengthLimit = 1024

  init(id: TokenID, content: ByteString, isSpecial: Bool = true) {
    self.id = id
    self.content = content
    self.isSpecial = isSpecial
  }

  /// Reads an object of `added_tokens` or `added_tokens_decoder`.
  init(_ field: FileField, id: TokenID) throws(TokenizerError) {
    self.id = id
    let contentField = try field.member("content")
    content = try contentField.bytes()
    guard content.bytes.count <= Self.lengthLimit else {
      throw contentField.unsupported(
        "\(content.bytes.count) bytes long", supported: "a token of \(Self.lengthLimit) bytes")
    }
    isSpecial = try field.member("special").flag() ?? false
    isSingleWord = try field.member("single_word").flag() ?? false
    stripsLeft = try field.member("lstrip").flag() ?? false
    stripsRight = try field.member("rstrip").flag() ?? false
    isNormalized = try field.member("normalized").flag() ?? !isSpecial
  }
}
