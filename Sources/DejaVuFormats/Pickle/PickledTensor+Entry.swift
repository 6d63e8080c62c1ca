extension PickledTensor {
  /// Nothing that a language model stores has more axes.
  static let maximumRank = 8

  /// Checks the tensor against itself and its storage, and finds its bytes.
  ///
  /// - Parameters:
  ///   - name: the tensor's key in the state dict.
  ///   - heap: what the tensor's fields point into.
  ///   - file: the archive.
  ///   - storageBytes: where an archive's entry of a storage's key lies in the file.
  /// - Returns: an entry that lies within its storage, row-major.
  /// - Throws: ``CheckpointError/invalidTensor(file:name:reason:)`` for a tensor that cannot be,
  ///   ``CheckpointError/unsupported(file:reason:)`` for one that is not row-major.
  func entry(
    named name: String, heap: PickleHeap, file: MappedFile, storageBytes: (String) -> Range<Int>?
  ) throws(CheckpointError) -> TensorEntry {
    func invalid(_ reason: String) -> CheckpointError {
      .invalidTensor(file: file.path, name: name, reason: reason)
    }
    guard let shape = heap.integers(size), let steps = heap.integers(strides),
      shape.count == steps.count, shape.count <= Self.maximumRank,
      shape.allSatisfy({ $0 >= 0 }), steps.allSatisfy({ $0 >= 0 })
    else { throw invalid("its size and strides are not two short lists of natural numbers") }
    guard let count = checkedProduct(shape) else { throw invalid("\(shape) overflows") }
    let bytes = try bytesOfStorage(heap, invalid: invalid, storageBytes: storageBytes)
    let available = bytes.count / type.size
    guard offset >= 0, offset <= available, count <= available - offset else {
      throw invalid(
        "\(count) elements at \(offset) do not fit into its storage of \(available) elements")
    }
    guard count == 0 || Self.isRowMajor(shape, steps) else {
      throw .unsupported(
        file: file.path,
        reason: "tensor '\(name)' of shape \(shape) has strides \(steps), which is not row-major; "
          + "call .contiguous() on it and save the checkpoint again")
    }
    let start = bytes.lowerBound + offset * type.size
    return TensorEntry(
      name: name, dtype: type.dtype, storedType: type.rawValue, shape: shape, file: file,
      range: start..<start + count * type.size)
  }

  /// Where the tensor's storage lies, as long as the pickle says that it is.
  private func bytesOfStorage(
    _ heap: PickleHeap, invalid: (String) -> CheckpointError,
    storageBytes: (String) -> Range<Int>?
  ) throws(CheckpointError) -> Range<Int> {
    let described = heap.storages[storage]
    guard let bytes = storageBytes(described.key) else {
      throw invalid("the archive has no data for its storage '\(described.key)'")
    }
    guard described.elementCount >= 0,
      checkedProduct([described.elementCount, described.type.size]) == bytes.count
    else {
      throw invalid(
        "its storage '\(described.key)' of \(described.elementCount) elements (\(described.type.rawValue))"
          + " has \(bytes.count) bytes")
    }
    return bytes
  }

  /// Whether elements follow each other in row-major order; an axis of one element has no say.
  private static func isRowMajor(_ shape: [Int], _ strides: [Int]) -> Bool {
    var expected = 1
    for (extent, step) in zip(shape, strides).reversed() where extent != 1 {
      guard step == expected else { return false }
      expected *= extent  // no overflow: a suffix of a product that was checked, without zeros
    }
    return true
  }
}

/// The product, or nil if it passes 2^48, more than any file here can hold.
///
/// A zero among the factors does not excuse the others: whoever multiplies them again, in whatever
/// order, must not overflow.
private func checkedProduct(_ factors: [Int]) -> Int? {
  var product = 1
  for factor in factors where factor != 0 {
    let (next, overflow) = product.multipliedReportingOverflow(by: factor)
    guard !overflow, next <= 1 << 48 else { return nil }
    product = next
  }
  return factors.contains(0) ? 0 : product
}
