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

  /// - Parameters:
  ///   - rank: of the product.
  ///   - hidden: width of the stream.
  ///   - rows: how many are predicted.
  ///   - visiting: where the values lie of a model that takes no steps, and has no moments; nil is a
  ///     model in training.
  package init(rank: Int, hidden: Int, rows: Int, visiting: CPUBuffer? = nil) {
    self.rank = rank
    self.hidden = hidden
    self.rows = rows
    width = Padding.width(hidden)
    paddedRows = Padding.width(rows)
    let count = Self.count(rank: rank, hidden: hidden, rows: rows)
    precondition(visiting.map { $0.stride >= count } ?? true, "too little room for a predictor")
    values = visiting ?? CPUBuffer(capacity: 1, width: count)
    first = CPUBuffer(capacity: 1, width: visiting == nil ? count : 0)
    second = CPUBuffer(capacity: 1, width: visiting == nil ? count : 0)
  }

  /// Floats of the values.
  package static func count(rank: Int, hidden: Int, rows: Int) -> Int {
    rank * (Padding.width(hidden) + Padding.width(rows)) + Padding.width(rows)
  }
  package var count: Int { Self.count(rank: rank, hidden: hidden, rows: rows) }
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

  /// Rows that a thread rounds at a time.
  private static let piece = 64

  /// Rounds a trained predictor.
  package init(_ model: LowRankModel, bits: Int, _ arithmetic: DenseArithmetic) {
    let columns = (model.hidden + 63) / 64 * 64
    first = Self.rounded(model.rank, columns, bits, arithmetic) { piece, out in
      for (index, row) in piece.enumerated() {
        (out + index * columns).update(from: model.a + row * model.width, count: model.hidden)
      }
    }
    second = Self.rounded(model.rows, model.rank, bits, arithmetic) { piece, out in
      for j in 0..<model.rank {
        let column = model.b + j * model.paddedRows + piece.lowerBound
        for i in 0..<piece.count { out[i * model.rank + j] = column[i] }
      }
    }
    bias = (0..<model.rows).map { model.bias[$0] }
  }

  /// Groupwise rows of what `fill` gives: floats of some rows, `columns` apart, among zeros.
  private static func rounded(
    _ rows: Int, _ columns: Int, _ bits: Int, _ arithmetic: DenseArithmetic,
    _ fill: (Range<Int>, UnsafeMutablePointer<Float>) -> Void
  ) -> [UInt8] {
    let bytes = GroupwiseMatrix.rowBytes(columns: columns, bits: bits)
    var result = [UInt8](repeating: 0, count: rows * bytes)
    result.withUnsafeMutableBytes { buffer in
      nonisolated(unsafe) let (out, fill) = (buffer, fill)
      arithmetic.run(chunks: (rows + piece - 1) / piece) { chunk in
        let some = chunk * piece..<min((chunk + 1) * piece, rows)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: piece * columns) { room in
          guard let floats = room.baseAddress, let base = out.baseAddress else { return }
          room.initialize(repeating: 0)
          fill(some, floats)
          for (index, row) in some.enumerated() {
            GroupwiseRows.quantize(
              floats + index * columns, columns: columns, bits: bits, into: base + row * bytes)
          }
        }
      }
    }
    return result
  }

  /// What ``rounded(_:_:_:_:_:)`` made, as floats again: `take` gets some rows, `columns` apart.
  private static func restore(
    _ bytes: [UInt8], rows: Int, _ columns: Int, _ bits: Int, _ arithmetic: DenseArithmetic,
    _ take: (Range<Int>, UnsafePointer<Float>) -> Void
  ) {
    let rowBytes = GroupwiseMatrix.rowBytes(columns: columns, bits: bits)
    bytes.withUnsafeBytes { buffer in
      nonisolated(unsafe) let (codes, take) = (buffer, take)
      arithmetic.run(chunks: (rows + piece - 1) / piece) { chunk in
        let some = chunk * piece..<min((chunk + 1) * piece, rows)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: piece * columns) { room in
          guard let floats = room.baseAddress, let base = codes.baseAddress else { return }
          for (index, row) in some.enumerated() {
            GroupwiseRows.dequantize(
              base + row * rowBytes, columns: columns, bits: bits, into: floats + index * columns)
          }
          take(some, floats)
        }
      }
    }
  }

  /// Gives `model` the weights that this stands for; moments stay as they are.
  package func restore(_ model: LowRankModel, bits: Int, _ arithmetic: DenseArithmetic) {
    let columns = (model.hidden + 63) / 64 * 64
    Self.restore(first, rows: model.rank, columns, bits, arithmetic) { piece, floats in
      for (index, row) in piece.enumerated() {
        (model.a + row * model.width).update(from: floats + index * columns, count: model.hidden)
      }
    }
    Self.restore(second, rows: model.rows, model.rank, bits, arithmetic) { piece, floats in
      for j in 0..<model.rank {
        let column = model.b + j * model.paddedRows + piece.lowerBound
        for i in 0..<piece.count { column[i] = floats[i * model.rank + j] }
      }
    }
    for i in 0..<model.rows { model.bias[i] = bias[i] }
  }
}
