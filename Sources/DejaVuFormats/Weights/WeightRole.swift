import DejaVuCore

/// What a weight is for, in the engine's own words.
public enum WeightRole: Hashable, Sendable {
  /// `[V, E]`, `[context + offset, D]`, `[D, E]`, `[E, D]`, `[V, E]`, E the embedding's width:
  /// E = D but for OPT-350M. A tied head is the token embedding and has no role of its own.
  case tokenEmbedding, positionEmbedding, projectIn, projectOut, head
  case embeddingNorm(NormPart)
  case finalNorm(NormPart)
  case layer(Int, LayerRole)

  /// The two vectors of a norm, `[D]` each; which of them a model has, its architecture says.
  public enum NormPart: Hashable, Sendable { case weight, bias }
  /// A weight of one block.
  public enum LayerRole: Hashable, Sendable {
    case attentionNorm(NormPart)
    case mlpNorm(NormPart)
    /// `[H·h, D]`, `[K·h, D]`, `[K·h, D]`: one row per lane of a head.
    case query, key, value
    /// `[H·h, D]`: one row per lane of a head, so transposed against Hugging Face's `[D, H·h]`.
    case output
    /// `[F, D]`; `down` is transposed against Hugging Face's `[D, F]`.
    case gate, up, down
    /// One number per row of the projection; `outputBias` and `downBias` are `[D]`.
    case queryBias, keyBias, valueBias, outputBias, gateBias, upBias, downBias
  }
}

/// How the rows of one of our matrices lie inside a stored tensor.
///
/// Element (r, c) is at `offset + (r / blockRows) · blockStride + (r % blockRows) · rowStride
/// + c · columnStride`, all in elements. That covers plain matrices, transposed ones (GPT-2) and
/// query, key and value rows interleaved by head (GPT-NeoX, BLOOM). Norm weights and biases are
/// views of one column: row r is element r.
public struct TensorView: Hashable, Sendable {
  /// Name of the stored tensor; several views may share one.
  public let tensor: String
  /// The whole stored tensor's shape, checked before anything is copied.
  public let storedShape: [Int]
  /// Rows of our matrix, not of the stored tensor.
  public let rows: Int
  /// Columns of our matrix; 1 for a norm or a bias.
  public let columns: Int
  /// Elements before element (0, 0).
  public let offset: Int
  /// Rows that follow each other at `rowStride`; at least 1.
  public let blockRows: Int
  /// Elements from one block of rows to the next.
  public let blockStride: Int
  /// Elements from a row to the next of its block.
  public let rowStride: Int
  /// Elements from a column to the next; 1 unless the tensor is transposed.
  public let columnStride: Int

  /// A view in elements of the stored tensor; without `blockRows` all rows are one block.
  public init(
    tensor: String, storedShape: [Int], rows: Int, columns: Int, offset: Int = 0,
    blockRows: Int? = nil, blockStride: Int = 0, rowStride: Int, columnStride: Int = 1
  ) {
    self.tensor = tensor
    self.storedShape = storedShape
    self.rows = rows
    self.columns = columns
    self.offset = offset
    self.blockRows = blockRows ?? max(rows, 1)
    self.blockStride = blockStride
    self.rowStride = rowStride
    self.columnStride = columnStride
  }
}
