/// Floats on 64-byte boundaries, `[capacity, stride]`, zeroed; rows are padded like weight rows.
package final class CPUBuffer {
  package let base: UnsafeMutablePointer<Float>
  package let stride: Int
  package let capacity: Int

  package init(capacity: Int, width: Int) {
    stride = (width + 31) / 32 * 32
    self.capacity = capacity
    let count = max(capacity * stride, 1)
    let raw = UnsafeMutableRawPointer.allocate(byteCount: count * 4, alignment: 64)
    base = raw.initializeMemory(as: Float.self, repeating: 0, count: count)
  }

  deinit { UnsafeMutableRawPointer(base).deallocate() }

  package func row(_ index: Int) -> UnsafeMutablePointer<Float> { base + index * stride }
}
