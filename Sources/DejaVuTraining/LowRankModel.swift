package import DejaVuCPU
package import DejaVuCore
import DejaVuModels

/// A predictor in training: logits = B · A · x + bias, and AdamW's moments.
///
/// Everything lies in one row of floats: A `[rank, width]`, B transposed `[rank, padded rows]`, and
/// the bias `[padded rows]`.
package final class LowRankModel {
  package let rank: Int
  /// Padded width of the stream.
  package let width: Int
  /// Width of the stream.
  package let hidden: Int
  package let rows: Int
  package let paddedRows: Int
  package let values: CPUBuffer
  package let first: CPUBuffer
  package let second: CPUBuffer
  package var steps = 0

  package init(rank: Int, hidden: Int, rows: Int) {
    self.rank = rank
    self.hidden = hidden
    self.rows = rows
    width = Padding.width(hidden)
    paddedRows = Padding.width(rows)
    let count = rank * (width + paddedRows) + paddedRows
    values = CPUBuffer(capacity: 1, width: count)
    first = CPUBuffer(capacity: 1, width: count)
    second = CPUBuffer(capacity: 1, width: count)
  }

  package var count: Int { rank * (width + paddedRows) + paddedRows }
  package var a: UnsafeMutablePointer<Float> { values.base }
  package var b: UnsafeMutablePointer<Float> { values.base + rank * width }
  package var bias: UnsafeMutablePointer<Float> { values.base + rank * (width + paddedRows) }

  /// Random A with products of variance 1, B of zeros: at first every row is as likely as another.
  package func initialize(_ random: inout SplitMix64) {
    let scale = 1 / Float(hidden).squareRoot()
    for i in 0..<rank {
      for j in 0..<hidden { a[i * width + j] = scale * random.unit() }
    }
  }
}

/// A predictor as it is stored: rounded to groupwise rows.
package struct RoundedPredictor: Sendable {
  package var first: [UInt8]
  package var second: [UInt8]
  package var bias: [Float]

  init(first: [UInt8], second: [UInt8], bias: [Float]) {
    self.first = first
    self.second = second
    self.bias = bias
  }

  /// Rounds a trained predictor.
  package init(_ model: LowRankModel, bits: Int) {
    let columns = (model.hidden + 63) / 64 * 64
    let (aBytes, bBytes) = (
      GroupwiseMatrix.rowBytes(columns: columns, bits: bits),
      GroupwiseMatrix.rowBytes(columns: model.rank, bits: bits)
    )
    var first = [UInt8](repeating: 0, count: model.rank * aBytes)
    var second = [UInt8](repeating: 0, count: model.rows * bBytes)
    var row = [Float](repeating: 0, count: max(columns, model.rank))
    first.withUnsafeMutableBytes { out in
      for i in 0..<model.rank {
        for j in 0..<model.hidden { row[j] = model.a[i * model.width + j] }
        Self.quantize(row, columns, bits, out, at: i * aBytes)
      }
    }
    second.withUnsafeMutableBytes { out in
      for i in 0..<model.rows {
        for j in 0..<model.rank { row[j] = model.b[j * model.paddedRows + i] }
        Self.quantize(row, model.rank, bits, out, at: i * bBytes)
      }
    }
    self.first = first
    self.second = second
    bias = (0..<model.rows).map { model.bias[$0] }
  }

  private static func quantize(
    _ row: [Float], _ columns: Int, _ bits: Int, _ out: UnsafeMutableRawBufferPointer, at: Int
  ) {
    row.withUnsafeBufferPointer { row in
      guard let from = row.baseAddress, let base = out.baseAddress else { return }
      GroupwiseRows.quantize(from, columns: columns, bits: bits, into: base + at)
    }
  }

  /// Gives `model` the weights that this stands for; moments stay as they are.
  package func restore(_ model: LowRankModel, bits: Int) {
    let columns = (model.hidden + 63) / 64 * 64
    let (aBytes, bBytes) = (
      GroupwiseMatrix.rowBytes(columns: columns, bits: bits),
      GroupwiseMatrix.rowBytes(columns: model.rank, bits: bits)
    )
    let row = CPUBuffer(capacity: 1, width: max(columns, model.rank))
    first.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      for i in 0..<model.rank {
        GroupwiseRows.dequantize(base + i * aBytes, columns: columns, bits: bits, into: row.base)
        (model.a + i * model.width).update(from: row.base, count: model.hidden)
      }
    }
    second.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      for i in 0..<model.rows {
        GroupwiseRows.dequantize(
          base + i * bBytes, columns: model.rank, bits: bits, into: row.base)
        for j in 0..<model.rank { model.b[j * model.paddedRows + i] = row.base[j] }
      }
    }
    for i in 0..<model.rows { model.bias[i] = bias[i] }
  }
}
