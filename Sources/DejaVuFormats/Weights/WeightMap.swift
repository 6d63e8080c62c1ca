public import DejaVuCore

/// Finds an architecture's weights among a checkpoint's tensors.
public enum WeightMap {
  /// For every weight that `architecture` implies, where it is stored.
  ///
  /// Each is checked to be there, of exactly the implied shape and of a floating-point type,
  /// before anything is copied. A tied head is not a weight of its own.
  ///
  /// - Parameters:
  ///   - architecture: whose weights.
  ///   - tensors: of the checkpoint, by name.
  ///   - coded: weights that are stored as codes, and have no view.
  /// - Returns: the views of all others.
  /// - Throws: ``CheckpointError/missingTensor(name:folder:)``,
  ///   ``CheckpointError/shapeMismatch(name:expected:found:)``,
  ///   ``CheckpointError/unsupported(file:reason:)`` for an element type that is not run,
  ///   ``CheckpointError/unsupportedArchitecture(found:supported:)``.
  public static func views(
    for architecture: Architecture, tensors: [String: TensorEntry],
    coded: Set<WeightRole> = []
  ) throws(CheckpointError) -> [WeightRole: TensorView] {
    let plan = try plan(architecture, tensors)
    var views: [WeightRole: TensorView] = [:]
    for (role, view) in plan.views where !coded.contains(role) {
      guard let entry = tensors[view.tensor] else {
        throw .missingTensor(name: view.tensor, folder: folder(of: tensors))
      }
      try check(view, against: entry)
      views[role] = view
    }
    let head = WeightPlan.head(architecture, names: plan.names)
    if architecture.tiesHead, let entry = tensors[head.tensor] { try check(head, against: entry) }
    return views
  }

  /// Names of tensors that `architecture` has no use for, sorted; without those that are known
  /// to be harmless, such as a stored copy of a tied head.
  public static func extras(
    for architecture: Architecture, tensors: [String: TensorEntry],
    codes: [WeightRole: CodedTensor] = [:]
  ) throws(CheckpointError) -> [String] {
    let plan = try plan(architecture, tensors)
    var used = Set(plan.views.map { $0.view.tensor })
    for tensor in codes.values {
      let parts = ["qweight", "qzeros", "scales", "g_idx", "bias"]
      used.formUnion(parts.map { "\(tensor.name).\($0)" })
    }
    let head = plan.names.head + ".weight"
    return tensors.keys.filter { name in
      !used.contains(name) && name != head
        && !plan.names.harmless.contains { name.hasSuffix($0) }
    }.sorted()
  }

  /// Every weight that `architecture` implies and where a checkpoint in the newest spelling of
  /// its family stores it, in the order in which a writer should store them.
  ///
  /// - Precondition: the family is a known one.
  package static func plan(
    for architecture: Architecture
  ) -> [(role: WeightRole, view: TensorView)] {
    guard let family = Family(rawValue: architecture.family) else {
      preconditionFailure("no family is called \(architecture.family)")
    }
    let names = WeightNames.of(family)
    return WeightPlan(architecture, names: names, prefix: names.prefixes[0]).views
  }

  /// Checks shape, element type and extent of one tensor.
  private static func check(
    _ view: TensorView, against entry: TensorEntry
  ) throws(CheckpointError) {
    guard entry.shape == view.storedShape else {
      throw .shapeMismatch(name: view.tensor, expected: view.storedShape, found: entry.shape)
    }
    guard let dtype = entry.dtype else {
      throw .unsupported(
        file: entry.file.path,
        reason: "tensor '\(view.tensor)' is stored as \(entry.storedType); "
          + "weights must be F32, F16 or BF16")
    }
    precondition(
      view.isInside(elements: entry.range.count / dtype.size),
      "the view of \(view.tensor) leaves the shape \(view.storedShape) that it states")
  }

  static func plan(
    _ architecture: Architecture, _ tensors: [String: TensorEntry]
  ) throws(CheckpointError) -> WeightPlan {
    guard let family = Family(rawValue: architecture.family) else {
      throw .unsupportedArchitecture(
        found: architecture.family, supported: Family.allCases.map { $0.rawValue })
    }
    let names = WeightNames.of(family)
    let prefix = names.prefixes.first {
      tensors[$0 + names.tokenEmbedding + ".weight"] != nil
    }
    return WeightPlan(architecture, names: names, prefix: prefix ?? names.prefixes[0])
  }

  /// The folder that the tensors come from, for messages.
  static func folder(of tensors: [String: TensorEntry]) -> String {
    guard let path = tensors.values.first?.file.path else { return "the checkpoint" }
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return String(path[..<slash])
  }
}

extension WeightMap {
  /// Row `index` of a matrix as floats, element by element; for tests and the reference.
  ///
  /// - Parameters:
  ///   - index: the row, in `0..<view.rows`.
  ///   - view: how the matrix lies in the tensor.
  ///   - entry: the tensor that `view` names, of a floating-point type.
  /// - Returns: `[view.columns]` values.
  /// - Precondition: the row is one of the view's and the view is inside the tensor.
  public static func row(
    _ index: Int, of view: TensorView, in entry: TensorEntry
  ) -> [Float] {
    guard let dtype = entry.dtype else {
      preconditionFailure("tensor '\(entry.name)' of type \(entry.storedType) has no rows to read")
    }
    precondition(index >= 0 && index < view.rows, "row \(index) is not in 0..<\(view.rows)")
    precondition(
      view.isInside(elements: entry.range.count / dtype.size),
      "the view of '\(view.tensor)' leaves the tensor '\(entry.name)' of shape \(entry.shape)")
    // None of these sums overflows: the view was just found to be inside.
    let start =
      view.offset + index / view.blockRows * view.blockStride
      + index % view.blockRows * view.rowStride
    return entry.withBytes { bytes in
      (0..<view.columns).map { element(start + $0 * view.columnStride, dtype, bytes) }
    }
  }

  /// The element at `index` of a tensor of a floating-point type.
  static func element(_ index: Int, in entry: TensorEntry) -> Float {
    guard let dtype = entry.dtype, index >= 0, index < entry.range.count / dtype.size else {
      preconditionFailure("'\(entry.name)' of type \(entry.storedType) has no element \(index)")
    }
    return entry.withBytes { element(index, dtype, $0) }
  }

  private static func element(
    _ index: Int, _ dtype: DType, _ bytes: UnsafeRawBufferPointer
  ) -> Float {
    // Unaligned loads: a header may end at any byte.
    let offset = index * dtype.size
    switch dtype {
    case .float32:
      let bits = bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
      return Float(bitPattern: UInt32(littleEndian: bits))
    case .float16:
      let bits = bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
      return HalfPrecision.float(half: UInt16(littleEndian: bits))
    case .bfloat16:
      let bits = bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
      return HalfPrecision.float(brain: UInt16(littleEndian: bits))
    }
  }
}
