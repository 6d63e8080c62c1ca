package import DejaVuCore

/// Keys and values of one sequence, all of them: no group ever owes any.
package final class ReferenceCache: SequenceCache {
  /// `[layer][group][position]` keys or values of one head's width.
  typealias Vectors = [[[[Float]]]]

  package let capacity: Int
  package private(set) var count = 0
  private let dtype: DType
  private(set) var keys: Vectors
  private(set) var values: Vectors

  package init(layers: Int, groups: Int, dtype: DType, capacity: Int) {
    self.capacity = capacity
    self.dtype = dtype
    keys = Array(repeating: Array(repeating: [], count: groups), count: layers)
    values = keys
  }

  package func truncate(to count: Int) {
    precondition(count >= 0 && count <= self.count, "cannot cut \(self.count) back to \(count)")
    self.count = count
    for layer in keys.indices {
      for group in keys[layer].indices {
        keys[layer][group].removeSubrange(count...)
        values[layer][group].removeSubrange(count...)
      }
    }
  }

  package func fork(capacity: Int) throws(BackendError) -> ReferenceCache {
    guard capacity >= count else { throw .contextExceeded(needed: count, limit: capacity) }
    let copy = ReferenceCache(
      layers: keys.count, groups: keys.first?.count ?? 0, dtype: dtype, capacity: capacity)
    copy.keys = keys
    copy.values = values
    copy.count = count
    return copy
  }

  /// Stores one position's key and value, rounded to the cache's type.
  func remember(layer: Int, group: Int, position: Int, key: [Float], value: [Float]) {
    precondition(position == keys[layer][group].count, "positions are remembered in order")
    keys[layer][group].append(key.map { dtype.rounded($0) })
    values[layer][group].append(value.map { dtype.rounded($0) })
  }

  func grow(by tokens: Int) { count += tokens }
}

extension DType {
  /// The nearest value that this type can store, ties to even.
  func rounded(_ value: Float) -> Float {
    switch self {
    case .float32: value
    case .float16: HalfPrecision.float(half: HalfPrecision.half(value))
    case .bfloat16: HalfPrecision.float(brain: HalfPrecision.brain(value))
    }
  }
}
