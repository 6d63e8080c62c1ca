import DejaVuJSON

/// The special tokens that the model wants before and after a text.
struct PostProcessor: Hashable, Sendable {
  /// A special token with the name by which errors call it.
  struct Mark: Hashable, Sendable {
    let id: TokenID
    let field: String
    let name: String
  }

  var before: [Mark] = []
  var after: [Mark] = []

  init(before: [Mark] = [], after: [Mark] = []) {
    self.before = before
    self.after = after
  }

  init(_ field: FileField) throws(TokenizerError) {
    guard !field.isAbsent else { return }
    switch try field.type() {
    case "ByteLevel":
      break  // It moves offsets and adds nothing.
    case "TemplateProcessing":
      try readTemplate(field)
    case "RobertaProcessing", "BertProcessing":
      before = [try Self.mark(field.member("cls"))]
      after = [try Self.mark(field.member("sep"))]
    case "Sequence":
      for step in try field.member("processors").elements() {
        let outer = try PostProcessor(step)
        before = outer.before + before
        after += outer.after
      }
    case let other:
      throw field.unsupported(
        other, supported: "TemplateProcessing, RobertaProcessing, ByteLevel or a Sequence of them")
    }
  }

  /// A pair `["</s>", 2]`.
  private static func mark(_ field: FileField) throws(TokenizerError) -> Mark {
    let parts = try field.elements()
    guard parts.count == 2 else { throw field.wrongType("a token and its id") }
    let name = try parts[0].bytes()
    return Mark(id: try parts[1].tokenID(of: name), field: field.path, name: name.text)
  }

  private mutating func readTemplate(_ field: FileField) throws(TokenizerError) {
    let single = try field.member("single")
    let table = try field.member("special_tokens")
    var sequences = 0
    for piece in try single.elements() {
      let special = try piece.member("SpecialToken")
      if special.isAbsent {
        let name = try piece.member("Sequence").member("id")
        guard try name.text() == "A" else {
          throw name.unsupported(try name.text(), supported: "A")
        }
        sequences += 1
        continue
      }
      let marks = try Self.marks(table.member(special.member("id").text()))
      if sequences == 0 { before += marks } else { after += marks }
    }
    guard sequences == 1 else {
      throw single.unsupported("\(sequences) times the text", supported: "the text once")
    }
  }

  private static func marks(_ field: FileField) throws(TokenizerError) -> [Mark] {
    let name = try field.member("id").bytes()
    var marks: [Mark] = []
    for id in try field.member("ids").elements() {
      marks.append(Mark(id: try id.tokenID(of: name), field: field.path, name: name.text))
    }
    return marks
  }
}
