import DejaVuFormats
import Testing

/// Pickles that nobody's training run wrote.
///
/// None may run, trap, hang or take unbounded memory.
@Suite struct PickleHostileTests {
  private static let p = Pickle.self
  private static let system = Pickle.global("os", "system")

  static let forbidden: [Refused] = [
    .init("os.system", .forbiddenPickle, "'os.system'", value: p.call(system, [p.text("id")])),
    .init(
      "eval", .forbiddenPickle, "'builtins.eval'",
      value: p.call(p.global("builtins", "eval"), [p.text("1")])),
    .init(
      "a name from two strings", .forbiddenPickle, "'os.system'",
      value: p.text("os") + p.text("system") + [0x93]),
    .init(
      "a name from remembered strings", .forbiddenPickle, "'builtins.exec'",
      value: p.text("builtins") + p.ascii("q\u{1}") + p.text("exec") + p.ascii("q\u{2}")
        + [0x86, 0x71, 3, 0x68, 1, 0x68, 2, 0x93]),
    .init(
      "a dotted walk out of an allowed module", .forbiddenPickle, "'torch._utils.sys.exit'",
      value: p.text("torch._utils") + p.text("sys.exit") + [0x93]),
    .init(
      "an allowed name of the wrong module", .forbiddenPickle, "'torch._rebuild_tensor_v2'",
      value: p.global("torch", "_rebuild_tensor_v2")),
    .init(
      "a file loader", .forbiddenPickle, "'torch.storage._load_from_bytes'",
      value: p.global("torch.storage", "_load_from_bytes")),
    .init("an escape in a name", .forbiddenPickle, "\\u{1b}", value: p.global("\u{1B}[2J", "x")),
    .init(
      "INST", .forbiddenPickle, "opcode INST", value: p.ascii("(ios\nsystem\n")),
    .init(
      "OBJ", .forbiddenPickle, "opcode OBJ", value: p.ascii("(") + p.orderedDict + p.ascii("o")),
    .init(
      "NEWOBJ", .forbiddenPickle, "opcode NEWOBJ",
      value: p.global("collections", "OrderedDict") + p.ascii(")") + [0x81]),
    .init("EXT1", .forbiddenPickle, "opcode EXT1", value: [0x82, 1]),
    .init("EXT4", .forbiddenPickle, "opcode EXT4", value: [0x84, 1, 0, 0, 0]),
    .init("text PERSID", .forbiddenPickle, "opcode PERSID", value: p.ascii("Pstorage\n")),
    .init(
      "a call of a type", .forbiddenPickle, "a call of 'FloatStorage'",
      value: p.call(p.global("torch", "FloatStorage"), [p.integer(4)])),
    .init(
      "a call of a string", .forbiddenPickle, "a call of something",
      value: p.call(p.text("print"), [])),
    .init(
      "a call of a memo'd dict", .forbiddenPickle, "a call of something",
      value: p.call(p.orderedDict, [])),
    .init(
      "an OrderedDict from items", .forbiddenPickle, "made from arguments",
      value: p.call(p.global("collections", "OrderedDict"), [p.ascii("]")])),
    .init(
      "state on a plain dict", .forbiddenPickle, "state (a dict) set on a dict",
      value: p.ascii("}}b")),
    .init(
      "state on a tensor", .forbiddenPickle, "set on a tensor", value: p.tensor() + p.ascii("}b")),
    .init(
      "state that is a tuple", .forbiddenPickle, "state (a tuple)",
      value: p.orderedDict + p.ascii(")b")),
    .init("hooks", .forbiddenPickle, "hooks", value: p.tensor(hooks: p.dict([("0", p.none)]))),
    .init(
      "metadata", .forbiddenPickle, "metadata",
      value: p.tensor(more: [p.dict([("conj", [0x88])])])),
    .init(
      "a tensor of nothing", .forbiddenPickle, "unknown arguments",
      value: p.call(p.global("torch._utils", "_rebuild_tensor_v2"), [])),
    .init(
      "a parameter of a string", .forbiddenPickle, "a parameter",
      value: p.call(
        p.global("torch._utils", "_rebuild_parameter"),
        [p.text("x"), p.no, p.orderedDict])),
    .init(
      "a persistent id of another kind", .forbiddenPickle, "persistent id",
      value: p.storage(word: "module")),
    .init(
      "a storage of a function", .forbiddenPickle, "persistent id",
      value: p.storage(type: p.global("torch._utils", "_rebuild_tensor_v2"))),
    .init(
      "a typed tensor over a typed storage", .forbiddenPickle, "element type",
      value: p.typedTensor(p.storage(), type: p.global("torch", "uint16"), size: [4])),
    .init(
      "an untyped tensor", .forbiddenPickle, "without an element type",
      value: p.tensor(p.storage(count: 16, type: p.global("torch.storage", "UntypedStorage")))),
    .init("protocol 1", .forbiddenPickle, "protocol 1", opcodes: [0x80, 1, 0x2E]),
    .init("protocol 255", .forbiddenPickle, "protocol 255", opcodes: [0x80, 255, 0x2E]),
  ]

  static let broken: [Refused] = [
    .init("no pickle at all", .malformed, "ends at byte", opcodes: []),
    .init("only an end", .malformed, "a value is missing", opcodes: p.ascii(".")),
    .init("an end inside a mark", .malformed, "a value is missing", opcodes: p.ascii("}(.")),
    .init("two values", .malformed, "does not end with its value", opcodes: p.ascii("}}.")),
    .init("more after the end", .malformed, "does not end with its value", opcodes: p.ascii("}.N")),
    .init("a mark that is not there", .malformed, "a mark is missing", opcodes: p.ascii("}t.")),
    .init("a key without a value", .malformed, "a key has no value", opcodes: p.ascii("}(Nu.")),
    .init(
      "items for a number", .malformed, "items into an integer", opcodes: p.ascii("K\u{1}(NNu.")),
    .init("items for nothing", .malformed, "a value is missing", opcodes: p.ascii("(NNu.")),
    .init(
      "a take from below the mark", .malformed, "missing", opcodes: [0x4E, 0x4E, 0x28, 0x86, 0x2E]),
    .init("a recall of nothing", .malformed, "never remembered", opcodes: p.ascii("h\u{7}.")),
    .init("a remembering of nothing", .malformed, "missing", opcodes: p.ascii("q\u{7}.")),
    .init(
      "a frame past the end", .malformed, "frame",
      opcodes: [0x80, 4, 0x95]
        + little(UInt64.max) + p.ascii("}.")),
    .init(
      "a name that is not UTF-8", .malformed, "not UTF-8", opcodes: [0x63, 0xFF, 10, 0xFF, 10]),
    .init(
      "a name without an end", .malformed, "no end of line",
      opcodes: p.ascii("c" + String(repeating: "a", count: 5000))),
    .init(
      "arguments that are no tuple", .malformed, "not a tuple",
      value: p.global("torch", "Size") + p.ascii("]R")),
    .init(
      "a storage described twice", .malformed, "in two ways",
      value: p.tuple([p.storage(), p.storage(count: 2)])),
    .init(
      "one name for two tensors", .invalidTensor, "two of that name",
      opcodes: p.file(
        p.dict([("weight", p.tensor()), ("weight", p.tensor())]))),
    .init(
      "two spellings of one name", .invalidTensor, "two of that name",
      opcodes: p.file(
        p.dict([("\u{E9}", p.tensor()), ("e\u{301}", p.tensor())]))),
    .init(
      "a name with control characters", .malformed, "name",
      opcodes: p.file(
        p.dict([("a\u{1B}[2J", p.tensor())]))),
    .init(
      "a name of 2000 bytes", .malformed, "name",
      opcodes: p.file(
        p.dict([(String(repeating: "a", count: 2000), p.tensor())]))),
    .init(
      "a number as a name", .unsupported, "an integer where",
      opcodes: p.file(
        p.ascii("}") + p.integer(1) + p.tensor() + p.ascii("s"))),
    .init(
      "a dict that holds itself", .unsupported, "'weight' is a dict",
      opcodes: p.file(
        p.ascii("}q\u{1}") + p.text("weight") + p.ascii("h\u{1}s"))),
    .init("a loose storage", .unsupported, "'weight' is a storage", value: p.storage()),
  ]

  static let bombs: [Refused] = [
    .init(
      "100,000 nested tuples", .unsupported, "holds a tuple",
      opcodes: p.ascii(")") + [UInt8](repeating: 0x85, count: 100_000) + p.ascii(".")),
    .init(
      "tuples without end", .forbiddenPickle, "more than 8388608 values",
      opcodes: p.ascii(")") + [UInt8](repeating: 0x85, count: 5_000_000) + p.ascii(".")),
    .init(
      "tuples doubled 60 times", .unsupported, "'weight' is a tuple",
      value: p.ascii(")q\u{1}")
        + (0..<60).flatMap { _ in p.ascii("h\u{1}h\u{1}") + [0x86] + p.ascii("q\u{1}") }
        + p.tuple([]) + [0x86]),
    .init(
      "a memo without end", .forbiddenPickle, "more than",
      opcodes: p.none + [UInt8](repeating: 0x94, count: 5_000_000) + p.ascii(".")),
    .init(
      "the last slot of the memo", .unsupported, "holds None",
      opcodes: p.none + [0x72, 255, 255, 255, 255] + p.ascii(".")),
    .init(
      "values without end", .forbiddenPickle, "values deep",
      opcodes: [UInt8](repeating: 0x4E, count: 2_000_000) + p.ascii(".")),
    .init(
      "marks without end", .forbiddenPickle, "1000 levels",
      opcodes: [UInt8](repeating: 0x28, count: 2_000_000) + p.ascii(".")),
    .init(
      "dicts without end", .forbiddenPickle, "values",
      opcodes: p.ascii("]") + (0..<5_000_000).flatMap { _ in p.ascii("}a") } + p.ascii(".")),
    .init(
      "small tuples atop a million values", .forbiddenPickle, "more than",
      opcodes: [UInt8](repeating: 0x4E, count: 1_000_000)
        + [UInt8](repeating: 0x85, count: 5_000_000) + p.ascii(".")),
    .init(
      "a string of 4 GiB", .forbiddenPickle, "a string of 4294967295 bytes",
      opcodes: [0x58, 255, 255, 255, 255]),
    .init(
      "an integer of 255 bytes", .forbiddenPickle, "an integer of 255 bytes",
      opcodes: [0x8A, 255]),
  ]

  @Test(arguments: forbidden + broken + bombs)
  func `a hostile pickle is refused for what it is`(file: Refused) throws {
    let error = try #require(try refusal(of: file.bytes))
    #expect(error.kind == file.kind, "\(error)")
    #expect(error.description.contains(file.saying), "\(error)")
  }

  @Test func `no opcode outside the closed list is read`() throws {
    let allowed = Set(Array("().GJKMNQRX]abcehjqrstu}".utf8))
      .union([0x80, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x93, 0x94, 0x95])
    for byte in UInt8.min...UInt8.max where !allowed.contains(byte) {
      let error = try refusal(of: Zip(pickle: Pickle.file([byte])).bytes)
      #expect(error?.kind == .forbiddenPickle, "0x\(String(byte, radix: 16))")
    }
  }

  @Test func `a pickle cut anywhere is damaged`() throws {
    let whole = Pickle.file(Pickle.dict([("weight", Pickle.tensor())]))
    #expect(try refusal(of: Zip(pickle: whole).bytes) == nil)
    for count in whole.indices {
      let error = try refusal(of: Zip(pickle: Array(whole.prefix(count))).bytes)
      #expect(error?.kind == .malformed, "\(count) bytes: \(String(describing: error))")
    }
  }
}
