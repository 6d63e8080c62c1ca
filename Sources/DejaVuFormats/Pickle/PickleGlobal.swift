import DejaVuCore

/// The Python names that a state dict may mention: a closed list.
///
/// A name is only ever compared with this list; nothing is looked up, imported or called.
enum PickleGlobal: Hashable, Sendable {
  case orderedDict
  /// `torch.Size`, a tuple of integers.
  case size
  /// Makes a tensor of a storage, an offset, a size and strides.
  case rebuildTensor
  /// As `rebuildTensor`, and the element type: for types that have no storage class.
  case rebuildTypedTensor
  case rebuildParameter
  case element(ElementType)

  init?(module: String, name: String) {
    switch (module, name) {
    case ("collections", "OrderedDict"): self = .orderedDict
    case ("torch", "Size"): self = .size
    case ("torch._utils", "_rebuild_tensor_v2"): self = .rebuildTensor
    case ("torch._utils", "_rebuild_tensor_v3"): self = .rebuildTypedTensor
    case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
    case ("torch.storage", ElementType.untyped.rawValue): self = .element(.untyped)
    case ("torch", _):
      guard let type = ElementType(rawValue: name), type != .untyped else { return nil }
      self = .element(type)
    default: return nil
    }
  }
}

/// What a storage or a tensor consists of, by PyTorch's own words.
enum ElementType: String, Hashable, Sendable {
  case float64 = "DoubleStorage"
  case float32 = "FloatStorage"
  case float16 = "HalfStorage"
  case bfloat16 = "BFloat16Storage"
  case int64 = "LongStorage"
  case int32 = "IntStorage"
  case int16 = "ShortStorage"
  case int8 = "CharStorage"
  case uint8 = "ByteStorage"
  case bool = "BoolStorage"
  /// Bytes, whose type the tensor names.
  case untyped = "UntypedStorage"

  case uint16, uint32, uint64
  case float8E4M3FN = "float8_e4m3fn"
  case float8E4M3FNUZ = "float8_e4m3fnuz"
  case float8E5M2 = "float8_e5m2"
  case float8E5M2FNUZ = "float8_e5m2fnuz"
  case float8E8M0FNU = "float8_e8m0fnu"

  /// Whether storages are of this type; of the others only tensors are, over untyped storages.
  var isStorage: Bool { rawValue.hasSuffix("Storage") }

  /// Size of one element in bytes.
  var size: Int {
    switch self {
    case .float64, .int64, .uint64: 8
    case .float32, .int32, .uint32: 4
    case .float16, .bfloat16, .int16, .uint16: 2
    case .int8, .uint8, .bool, .untyped: 1
    case .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float8E8M0FNU: 1
    }
  }

  /// Nil for types that weights cannot have.
  var dtype: DType? {
    switch self {
    case .float32: .float32
    case .float16: .float16
    case .bfloat16: .bfloat16
    default: nil
    }
  }
}
