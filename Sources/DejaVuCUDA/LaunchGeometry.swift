import CDejaVuCUDA
import DejaVuCore

/// How large launches are: a function of the model and the card alone, never of a token.
struct LaunchGeometry {
  let multiprocessors: Int
  /// Parts that one head's cache is cut into.
  let splits: Int
  /// Slices that sums of rows are cut into, at most.
  let slices: Int

  init(model: PackedModel, multiprocessors: Int) {
    self.multiprocessors = multiprocessors
    let architecture = model.architecture
    slices =
      model.layers.lazy.flatMap { [$0.output, $0.bundle.matrix] }
      .map { Self.slices($0, blocks: 4 * multiprocessors) }.max() ?? 1
    // At half density every multiprocessor still has two blocks.
    splits = min(max(4 * multiprocessors / architecture.heads, 1), 32)
  }

  /// Tiles of a matrix' columns, one to a block that sums rows.
  func tiles(_ matrix: RowMatrix) -> Int { Self.tiles(matrix) }
  /// Slices that sums of output rows are cut into: as many as one wave of blocks takes, of which a
  /// multiprocessor holds two where rows are codes, or three; and with one less, which leaves room for choosers,
  /// those for half of the heads or less.
  func headSlices(_ matrix: RowMatrix) -> (all: Int, few: Int) {
    let each = matrix.kernelType.isCoded ? 2 : 3
    return (
      Self.slices(matrix, blocks: each * multiprocessors),
      Self.slices(matrix, blocks: (each - 1) * multiprocessors)
    )
  }
  /// The same for down rows, of which a multiprocessor holds two blocks, or four.
  func neuronSlices(_ matrix: RowMatrix) -> Int {
    Self.slices(matrix, blocks: (matrix.kernelType.isCoded ? 2 : 4) * multiprocessors)
  }

  /// A lane sums 16 bytes of a row of codes, and twice 16 of plain ones.
  private static func tiles(_ matrix: RowMatrix) -> Int {
    let columns =
      switch matrix.format {
      case .plain(let dtype): 2 * 32 * 16 / dtype.size
      case .groupwise(let format): 32 * 128 / format.bits
      case .scales(let format): preconditionFailure("\(format.name) holds no weights")
      }
    return (matrix.format.paddedColumns(matrix.columns) + columns - 1) / columns
  }

  private static func slices(_ matrix: RowMatrix, blocks: Int) -> Int {
    max(1, blocks / tiles(matrix))
  }

  /// Columns of a block that adds a stream up and prepares it; 0 where the card does not hold all such blocks, which
  /// wait for each other, at once: two on every multiprocessor.
  func renewedColumns(width: Int, wanted: Int) -> Int {
    guard wanted > 0 else { return 0 }
    let blocks = (Self.arranged(width) + wanted - 1) / wanted
    let fits = blocks <= 2 * multiprocessors && Self.arranged(width) <= 128 * Int(dv_renew_tiles)
    return fits ? wanted : 0
  }

  /// Floats of a vector as kernels arrange it.
  static func arranged(_ width: Int) -> Int { (width + 255) & ~255 }

  /// Bytes of an arranged vector.
  static func vectorBytes(_ width: Int) -> Int { 4 * arranged(width) }

  /// Bytes of a vector in 8 bits as choosers meet it (score.cu); `columns` is a multiple of 128.
  static func eighthBytes(_ columns: Int) -> Int { columns + (columns / 16 + 15) / 16 * 16 }

  /// Blocks of `warps` warps that multiply so many of a matrix' rows: a warp to a row, or to four rows of
  /// codes, whose blocks have a multiprocessor for themselves.
  func rowBlocks(_ matrix: RowMatrix, rows: Int, warps: Int) -> Int {
    guard matrix.kernelType.isCoded else { return blocks(rows: rows, warps: warps) }
    return min((rows + 4 * warps - 1) / (4 * warps), multiprocessors)
  }

  /// Blocks of `warps` warps for so many rows, two on every multiprocessor at most.
  func blocks(rows: Int, warps: Int) -> Int { min((rows + warps - 1) / warps, 2 * multiprocessors) }
}
