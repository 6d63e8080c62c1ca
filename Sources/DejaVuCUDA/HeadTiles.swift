import CDejaVuCUDA
import DejaVuCore

/// What a block needs that computes queries, keys and values by tensor cores.
struct HeadTiles {
  /// Bytes of shared memory for what all warps have on their way of halves.
  let ringBytes: Int
  /// Bytes from one input to the next in shared memory: neighbours meet other banks.
  let inputStride: Int
  /// Pairs of rows that a tile has.
  let pairs: Int

  /// Nil where weights do not meet their inputs in tensor cores: floats, and halves with another cache.
  ///
  /// - Parameters:
  ///   - query: a layer's query rows; keys and values are stored alike.
  ///   - cache: what inputs are kept in.
  init?(_ query: RowMatrix, cache: DType) {
    guard Self.apply(to: query.kernelType, cache: cache) else { return nil }
    var vector = LaunchGeometry.arranged(query.columns) * cache.size
    if query.kernelType.isCoded { vector = query.vectorBytes }
    ringBytes = query.kernelType.isCoded ? 0 : Int(dv_tile_warps * dv_tile_bytes)
    inputStride = (vector + 127) & ~127 + 64
    pairs = query.kernelType.isCoded ? 8 : 4
  }

  /// Warps of a block.
  static func warps(_ type: KernelType) -> Int {
    Int(type.isCoded ? dv_code_tile_warps : dv_tile_warps)
  }

  static func apply(to type: KernelType, cache: DType) -> Bool {
    type.isCoded || (cache != .float32 && type == KernelType(cache))
  }

  /// How many inputs before the token's own find room beside it, with `lists` bytes of lists.
  func recentInputs(window: Int, lists: Int, sharedBytes: Int) -> Int {
    guard window > 1 else { return 0 }
    let room = min(sharedBytes, KernelModule.sharedBytes) - Self.ownBytes - lists - ringBytes
    return max(0, min(Self.mostRecent, window - 1, room / inputStride - 1))
  }

  /// More are asked for so seldom that bringing them costs more than it saves.
  private static let mostRecent = 2
  /// What the kernel has of its own, and what the driver takes.
  private static let ownBytes = 28 << 10
}
