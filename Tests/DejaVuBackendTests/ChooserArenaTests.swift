import DejaVuCPU
import DejaVuCore
import Testing

/// Choosers side by side: what moved is the same, and what stayed behind is kept alive.
struct ChooserArenaTests {
  private let rows = 24
  private let columns = 64

  private func matrix(seed: UInt8) -> GroupwiseMatrix {
    let bytes = GroupwiseMatrix.rowBytes(columns: columns, bits: 4) * rows
    let storage = GroupwiseStorage(byteCount: bytes)
    for at in 0..<bytes {
      storage.base.storeBytes(of: UInt8(at % 251) ^ seed, toByteOffset: at, as: UInt8.self)
    }
    return GroupwiseMatrix(
      base: storage.base, bits: 4, rows: rows, columns: columns, owner: storage)
  }

  private func bytes(_ matrix: GroupwiseMatrix) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: matrix.base, count: matrix.byteCount))
  }

  /// A chooser whose numbers nobody else holds, and a look at its bias's owner.
  private func chooser() -> (weights: ChooserWeights, bias: WeakOwner, expected: [[UInt8]]) {
    let floats = GroupwiseStorage(byteCount: 4 * rows)
    let (first, second) = (matrix(seed: 1), matrix(seed: 2))
    let bias = FloatVector(
      base: UnsafePointer(floats.base.assumingMemoryBound(to: Float.self)), count: rows,
      owner: floats)
    let weights = ChooserWeights(first: first, second: second, norm: .plain, bias: bias)
    return (weights, WeakOwner(floats), [bytes(first), bytes(second)])
  }

  private struct WeakOwner {
    weak var owner: GroupwiseStorage?
    init(_ owner: GroupwiseStorage) { self.owner = owner }
  }

  @Test func `matrices in an arena are the ones that were adopted, and biases outlive their file`()
  {
    var (adopted, owner, expected): (ChooserWeights?, WeakOwner, [[UInt8]])
    do {
      let original = chooser()
      var arena = ChooserArena(for: [original.weights])
      (adopted, owner, expected) = (
        arena.adopt(original.weights), original.bias, original.expected
      )
    }
    #expect(adopted.map { bytes($0.first) } == expected[0])
    #expect(adopted?.second.map { bytes($0) } == expected[1])
    #expect(owner.owner != nil, "the bias was let go while a chooser still reads it")
    adopted = nil
    #expect(owner.owner == nil)
  }
}
