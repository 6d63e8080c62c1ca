/// The opcodes that call Python in Python. Here each makes one of a few known values.
extension PickleReader {
  /// A Python name, from the pickle's text or from two strings on the stack.
  mutating func readGlobal(_ opcode: PickleOpcode) throws(CheckpointError) {
    let module: Range<Int>
    let name: Range<Int>
    if opcode == .global {
      module = try cursor.line(limit: 256)
      name = try cursor.line(limit: 256)
    } else {
      guard case .text(let second) = try pop(), case .text(let first) = try pop() else {
        throw damaged("a name is not a string")
      }
      (module, name) = (first, second)
    }
    guard let moduleText = cursor.file.text(module), let nameText = cursor.file.text(name) else {
      throw damaged("a name is not UTF-8")
    }
    guard let global = PickleGlobal(module: moduleText, name: nameText) else {
      throw forbidden("a use of '\(moduleText).\(nameText)'")
    }
    push(.global(global))
  }

  /// `("storage", type, key, device, element count)` stands for a storage.
  mutating func identify() throws(CheckpointError) {
    guard case .tuple(let tuple) = try pop() else {
      throw damaged("a persistent id is not a tuple")
    }
    let items = heap.items[tuple]
    guard items.count == 5, let first = items.first, case .text(let word) = first,
      cursor.file.text(word) == "storage",
      case .global(.element(let type)) = items[tuple.lowerBound + 1], type.isStorage,
      case .text(let keyRange) = items[tuple.lowerBound + 2],
      case .text = items[tuple.lowerBound + 3],
      case .integer(let count) = items[tuple.lowerBound + 4],
      keyRange.count <= 64, let key = cursor.file.text(keyRange), isSaneName(key)
    else { throw forbidden("a persistent id that is not a storage's") }
    let storage = PickledStorage(type: type, elementCount: count, key: key)
    guard let value = heap.add(storage) else {
      throw damaged("storage '\(key)' is described in two ways")
    }
    push(value)
  }

  /// Where Python would call a function, the value that the known ones return.
  mutating func reduce() throws(CheckpointError) {
    guard case .tuple(let tuple) = try pop() else { throw damaged("arguments are not a tuple") }
    guard case .global(let function) = try pop() else {
      throw forbidden("a call of something that is not a known function")
    }
    let arguments = Array(heap.items[tuple])
    switch function {
    case .orderedDict:
      guard arguments.isEmpty else { throw forbidden("an OrderedDict made from arguments") }
      push(heap.addDict(isOrdered: true))
    case .size:
      guard arguments.count == 1, case .tuple(let items) = arguments[0] else {
        throw forbidden("a torch.Size of something other than a tuple")
      }
      push(.tuple(items))
    case .rebuildTensor, .rebuildTypedTensor: push(try rebuildTensor(function, arguments))
    case .rebuildParameter:
      guard arguments.count == 3, case .tensor = arguments[0], isEmptyDict(arguments[2]) else {
        throw forbidden("a parameter with hooks or of something other than a tensor")
      }
      push(arguments[0])
    case .element(let type): throw forbidden("a call of '\(type.rawValue)'")
    }
  }

  /// Makes a tensor of the arguments that PyTorch rebuilds it from.
  ///
  /// (storage, offset, size, strides, requires_grad, hooks[, element type][, metadata])
  private mutating func rebuildTensor(
    _ function: PickleGlobal, _ arguments: [PickleValue]
  ) throws(CheckpointError) -> PickleValue {
    let isTyped = function == .rebuildTypedTensor
    let metadataIndex = isTyped ? 7 : 6
    guard arguments.count == metadataIndex || arguments.count == metadataIndex + 1,
      case .storage(let storage) = arguments[0], case .integer(let offset) = arguments[1],
      case .tuple(let size) = arguments[2], case .tuple(let strides) = arguments[3]
    else { throw forbidden("a tensor made from unknown arguments") }
    // Hooks are functions to run, and metadata can say that the bytes mean something else
    // (a conjugate or a negative view).
    guard arguments.dropFirst(metadataIndex).allSatisfy({ isEmptyDict($0) }),
      isEmptyDict(arguments[5])
    else { throw forbidden("a tensor with hooks or metadata") }
    var type = heap.storages[storage].type
    if isTyped {
      guard case .global(.element(let named)) = arguments[6], !named.isStorage, type == .untyped
      else { throw forbidden("a tensor of an unknown element type") }
      type = named
    } else if type == .untyped {
      throw forbidden("a tensor without an element type")
    }
    return heap.add(
      PickledTensor(storage: storage, type: type, offset: offset, size: size, strides: strides))
  }

  private func isEmptyDict(_ value: PickleValue) -> Bool {
    switch value {
    case .none: true
    case .dict(let dict): heap.dicts[dict].pairs.isEmpty
    default: false
    }
  }

  /// State set on a value.
  ///
  /// Module versions (`_metadata`) come this way; they are not needed.
  mutating func build() throws(CheckpointError) {
    let state = try pop()
    let target = try pop()
    guard case .dict = state, case .dict(let dict) = target, heap.dicts[dict].isOrdered else {
      throw forbidden("state (\(state.kind)) set on \(target.kind)")
    }
    push(target)
  }
}
