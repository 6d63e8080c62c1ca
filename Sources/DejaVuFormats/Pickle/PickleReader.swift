/// Reads the pickle of a state dict into a ``PickleHeap``.
///
/// One pass, one small step per opcode. Opcodes and Python names outside the closed lists end it,
/// and so do the limits below, which bound memory whatever the file says. Nothing is executed.
struct PickleReader {
  /// A state dict takes about 200 bytes per tensor.
  static let maximumByteCount = 64 << 20
  /// Python's pickler flushes after 1000 items, so its stacks stay near 2000.
  static let maximumStackDepth = 1 << 20
  static let maximumMarkCount = 1000
  /// About nine entries per tensor.
  static let maximumMemoCount = 1 << 22
  static let maximumTextCount = 1 << 16

  var cursor: ByteCursor
  var heap = PickleHeap()
  private var stack: [PickleValue] = []
  /// For each open mark, how high the stack was: what lies below is out of reach.
  private var marks: [Int] = []
  private var memo: [Int: PickleValue] = [:]

  /// Reads the pickle that fills `range` of `file` and returns its value.
  static func read(
    _ file: MappedFile, _ range: Range<Int>
  ) throws(CheckpointError) -> (root: PickleValue, heap: PickleHeap) {
    var reader = PickleReader(cursor: ByteCursor(file, range, part: "pickle"))
    guard range.count <= maximumByteCount else {
      throw reader.forbidden("a pickle of \(range.count) bytes")
    }
    while try reader.step() {}
    let root = try reader.pop()
    guard reader.stack.isEmpty, reader.marks.isEmpty, reader.cursor.isAtEnd else {
      throw reader.damaged("it does not end with its value")
    }
    return (root, reader.heap)
  }

  private init(cursor: ByteCursor) { self.cursor = cursor }

  // MARK: Errors

  func forbidden(_ what: String) -> CheckpointError {
    .forbiddenPickle(file: cursor.file.path, what: what)
  }

  func damaged(_ reason: String) -> CheckpointError {
    .malformed(
      file: cursor.file.path,
      reason: "its pickle is wrong before byte \(cursor.position): \(reason)"
    )
  }

  // MARK: Stack

  mutating func push(_ value: PickleValue) { stack.append(value) }

  mutating func pop() throws(CheckpointError) -> PickleValue {
    guard stack.count > marks.last ?? 0 else { throw damaged("a value is missing") }
    return stack.removeLast()
  }

  /// Removes and returns the values above the last mark, and the mark.
  private mutating func popToMark() throws(CheckpointError) -> [PickleValue] {
    guard let mark = marks.last else { throw damaged("a mark is missing") }
    defer { marks.removeLast() }
    return try pop(stack.count - mark)
  }

  private mutating func pop(_ count: Int) throws(CheckpointError) -> [PickleValue] {
    guard stack.count - (marks.last ?? 0) >= count else { throw damaged("a value is missing") }
    // A copy, not a slice: a slice would keep the stack shared, and its next change would copy all
    // of it.
    let values = Array(stack.suffix(count))
    stack.removeLast(count)
    return values
  }

  /// The value on top, which stays there.
  private func top() throws(CheckpointError) -> PickleValue {
    guard stack.count > marks.last ?? 0, let value = stack.last else {
      throw damaged("a value is missing")
    }
    return value
  }

  // MARK: Steps

  /// Does what the next opcode says; false when it was the last one.
  private mutating func step() throws(CheckpointError) -> Bool {
    let byte = try cursor.read(UInt8.self)
    guard let opcode = PickleOpcode(rawValue: byte) else {
      throw forbidden(PickleOpcode.name(ofRefused: byte))
    }
    switch opcode {
    case .stop: return false
    case .proto, .frame: try readFraming(opcode)
    case .mark: marks.append(stack.count)
    case .put8, .put32, .memoize, .get8, .get32: try remember(opcode)
    case .global, .stackGlobal: try readGlobal(opcode)
    case .persistentID: try identify()
    case .reduce: try reduce()
    case .build: try build()
    case .append, .appends, .setItem, .setItems: try fill(opcode)
    case .tuple, .tuple1, .tuple2, .tuple3: try makeTuple(opcode)
    default: push(try literal(opcode))
    }
    if stack.count > Self.maximumStackDepth || marks.count > Self.maximumMarkCount {
      throw forbidden(
        "a pickle that nests more than \(Self.maximumMarkCount) levels or "
          + "\(Self.maximumStackDepth) values deep")
    }
    if heap.isFull || memo.count > Self.maximumMemoCount {
      throw forbidden("more than \(PickleHeap.maximumValueCount) values")
    }
    return true
  }

  private mutating func readFraming(_ opcode: PickleOpcode) throws(CheckpointError) {
    if opcode == .proto {
      let version = try cursor.read(UInt8.self)
      guard (2...5).contains(version) else { throw forbidden("pickle protocol \(version)") }
      return
    }
    // A frame only tells how much to read ahead; what it says must be there all the same.
    let count = Int(clamping: try cursor.read(UInt64.self))
    guard count <= cursor.end - cursor.position else { throw damaged("a frame passes its end") }
  }

  /// The value of an opcode that needs nothing from the stack.
  private mutating func literal(_ opcode: PickleOpcode) throws(CheckpointError) -> PickleValue {
    switch opcode {
    case .none: .none
    case .yes: .bool(true)
    case .no: .bool(false)
    case .unsigned8: .integer(Int(try cursor.read(UInt8.self)))
    case .unsigned16: .integer(Int(try cursor.read(UInt16.self)))
    case .integer32: .integer(Int(try cursor.read(Int32.self)))
    case .long8: .integer(try longInteger())
    case .real: .real(Double(bitPattern: UInt64(bigEndian: try cursor.read(UInt64.self))))
    case .text8: .text(try text(count: Int(try cursor.read(UInt8.self))))
    case .text32: .text(try text(count: Int(try cursor.read(UInt32.self))))
    case .emptyTuple: heap.addTuple([])
    case .emptyList: .list
    case .emptyDict: heap.addDict(isOrdered: false)
    default: throw forbidden("the pickle opcode 0x\(String(opcode.rawValue, radix: 16))")
    }
  }

  /// A little-endian two's complement integer after its length; empty is zero.
  private mutating func longInteger() throws(CheckpointError) -> Int {
    let count = Int(try cursor.read(UInt8.self))
    guard count <= 8 else { throw forbidden("an integer of \(count) bytes") }
    let bytes = cursor.file.bytes[try cursor.take(count)]
    let isNegative = (bytes.last ?? 0) & 0x80 != 0
    return bytes.reversed().reduce(isNegative ? -1 : 0) { $0 << 8 | Int($1) }
  }

  private mutating func text(count: Int) throws(CheckpointError) -> Range<Int> {
    guard count <= Self.maximumTextCount else { throw forbidden("a string of \(count) bytes") }
    return try cursor.take(count)
  }

  private mutating func remember(_ opcode: PickleOpcode) throws(CheckpointError) {
    switch opcode {
    case .put8: memo[Int(try cursor.read(UInt8.self))] = try top()
    case .put32: memo[Int(try cursor.read(UInt32.self))] = try top()
    case .memoize: memo[memo.count] = try top()
    default:
      let slot =
        opcode == .get8 ? Int(try cursor.read(UInt8.self)) : Int(try cursor.read(UInt32.self))
      guard let value = memo[slot] else { throw damaged("it recalls \(slot), never remembered") }
      push(value)
    }
  }

  private mutating func makeTuple(_ opcode: PickleOpcode) throws(CheckpointError) {
    let values =
      switch opcode {
      case .tuple1: try pop(1)
      case .tuple2: try pop(2)
      case .tuple3: try pop(3)
      default: try popToMark()
      }
    push(heap.addTuple(values))
  }

  /// Puts values into the list or dict below them.
  private mutating func fill(_ opcode: PickleOpcode) throws(CheckpointError) {
    let values =
      switch opcode {
      case .append: try pop(1)
      case .setItem: try pop(2)
      default: try popToMark()
      }
    switch (opcode, try top()) {
    case (.append, .list), (.appends, .list): break
    case (.setItem, .dict(let dict)), (.setItems, .dict(let dict)):
      guard values.count.isMultiple(of: 2) else { throw damaged("a key has no value") }
      heap.insert(values, into: dict)
    case (_, let target): throw damaged("it puts items into \(target.kind)")
    }
  }
}
