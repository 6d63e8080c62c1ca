/// Floats on 64-byte boundaries, `[capacity, stride]`, zeroed; rows are padded like weight rows.
package final class CPUBuffer {
  package let base: UnsafeMutablePointer<Float>
  package let stride: Int
  package let capacity: Int
  /// Whose the memory is; nil where it is this buffer's own.
  private let owner: AnyObject?

  package init(capacity: Int, width: Int) {
    stride = (width + 31) / 32 * 32
    self.capacity = capacity
    owner = nil
    let count = max(capacity * stride, 1)
    let raw = UnsafeMutableRawPointer.allocate(byteCount: count * 4, alignment: 64)
    base = raw.initializeMemory(as: Float.self, repeating: 0, count: count)
  }

  /// One row of `width` floats, a multiple of 32, in memory that `owner` keeps.
  package init(base: UnsafeMutablePointer<Float>, width: Int, owner: AnyObject) {
    precondition(width % 32 == 0, "a row of \(width) floats is not padded")
    (self.base, stride, capacity, self.owner) = (base, width, 1, owner)
  }

  deinit { if owner == nil { UnsafeMutableRawPointer(base).deallocate() } }

  package func row(_ index: Int) -> UnsafeMutablePointer<Float> { base + index * stride }
}
