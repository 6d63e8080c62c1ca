/// A value on the reader's stack.
///
/// Containers are numbers that point into a ``PickleHeap``, so that however deeply a file nests
/// them, nothing here recurses, not even to free them.
enum PickleValue {
  case none
  case bool(Bool)
  case integer(Int)
  case real(Double)
  /// Where UTF-8 text lies in the file.
  case text(Range<Int>)
  /// The items in `heap.items`.
  case tuple(Range<Int>)
  /// A list; what it holds was read and forgotten, no tensor needs one.
  case list
  /// An index into `heap.dicts`.
  case dict(Int)
  case global(PickleGlobal)
  /// An index into `heap.storages`.
  case storage(Int)
  /// An index into `heap.tensors`.
  case tensor(Int)

  /// What to call the value in a message.
  var kind: String {
    switch self {
    case .none: "None"
    case .bool: "a boolean"
    case .integer: "an integer"
    case .real: "a number"
    case .text: "a string"
    case .tuple: "a tuple"
    case .list: "a list"
    case .dict: "a dict"
    case .global: "a Python type or function"
    case .storage: "a storage"
    case .tensor: "a tensor"
    }
  }
}

/// A storage as a persistent id names it; not yet looked for in the archive.
struct PickledStorage: Hashable {
  let type: ElementType
  let elementCount: Int
  let key: String
}

/// The arguments of a rebuilt tensor; not yet checked against each other.
struct PickledTensor {
  let storage: Int
  let type: ElementType
  /// In elements of `type`.
  let offset: Int
  /// Items of the heap; all integers.
  let size: Range<Int>
  let strides: Range<Int>
}

/// Everything that the values of one pickle point to.
struct PickleHeap {
  struct Dict {
    /// Only an `OrderedDict` may carry state.
    let isOrdered: Bool
    var pairs: [(key: PickleValue, value: PickleValue)] = []
  }

  /// Room for several hundred thousand tensors, at about 20 values each.
  static let maximumValueCount = 1 << 23

  private(set) var items: [PickleValue] = []
  private(set) var dicts: [Dict] = []
  private(set) var storages: [PickledStorage] = []
  private(set) var tensors: [PickledTensor] = []
  private var storageIndices: [String: Int] = [:]
  private var valueCount = 0

  /// Whether the limit was passed; one operation adds no more than the reader's stack held.
  var isFull: Bool { valueCount > Self.maximumValueCount }

  mutating func addTuple(_ values: [PickleValue]) -> PickleValue {
    let start = items.count
    items += values
    valueCount += values.count + 1
    return .tuple(start..<items.count)
  }

  mutating func addDict(isOrdered: Bool) -> PickleValue {
    dicts.append(Dict(isOrdered: isOrdered))
    valueCount += 2
    return .dict(dicts.count - 1)
  }

  mutating func add(_ tensor: PickledTensor) -> PickleValue {
    tensors.append(tensor)
    valueCount += 4
    return .tensor(tensors.count - 1)
  }

  /// The storage of that key, made if it is new; nil if it was described differently before.
  mutating func add(_ storage: PickledStorage) -> PickleValue? {
    if let known = storageIndices[storage.key] {
      return storages[known] == storage ? .storage(known) : nil
    }
    storages.append(storage)
    storageIndices[storage.key] = storages.count - 1
    valueCount += 4
    return .storage(storages.count - 1)
  }

  /// - Precondition: `pairs` holds keys and values in turn.
  mutating func insert(_ pairs: [PickleValue], into dict: Int) {
    precondition(pairs.count.isMultiple(of: 2), "\(pairs.count)")
    for key in stride(from: pairs.startIndex, to: pairs.endIndex, by: 2) {
      dicts[dict].pairs.append((pairs[key], pairs[key + 1]))
    }
    valueCount += pairs.count
  }

  /// The integers of a tuple, or nil if something else is among them.
  func integers(_ tuple: Range<Int>) -> [Int]? {
    var result: [Int] = []
    for item in items[tuple] {
      guard case .integer(let value) = item else { return nil }
      result.append(value)
    }
    return result
  }
}
