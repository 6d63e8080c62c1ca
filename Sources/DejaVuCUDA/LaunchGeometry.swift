import DejaVuCore

/// How large launches are: a function of the model and the card alone, never of a token.
struct LaunchGeometry {
  let multiprocessors: Int
  /// Parts that one head's cache is cut into.
  let splits: Int
  /// Slices that sums of rows are cut into.
  let slices: Int
  /// Columns of the stream that one block sums.
  private let tileColumns: Int
  let tiles: Int

  init(model: PackedModel, multiprocessors: Int) {
    self.multiprocessors = multiprocessors
    let architecture = model.architecture
    let width = Padding.width(architecture.hidden)
    let size = model.layers.first?.bundle.matrix.dtype.size ?? 2
    tileColumns = 2 * 32 * 16 / size
    tiles = (width + tileColumns - 1) / tileColumns
    // Four blocks on every multiprocessor.
    slices = max(1, 4 * multiprocessors / tiles)
    // At half density every multiprocessor still has two blocks.
    splits = min(max(4 * multiprocessors / architecture.heads, 1), 32)
  }

  /// Floats of a vector as kernels arrange it.
  static func arranged(_ width: Int) -> Int { (width + 255) & ~255 }

  /// Bytes of an arranged vector.
  static func vectorBytes(_ width: Int) -> Int { 4 * arranged(width) }

  /// Blocks of `warps` warps for so many rows, two on every multiprocessor at most.
  func blocks(rows: Int, warps: Int) -> Int { min((rows + warps - 1) / warps, 2 * multiprocessors) }
}
