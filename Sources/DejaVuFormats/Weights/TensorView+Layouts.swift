extension TensorView {
  /// Stored as it is used: `[rows, columns]`.
  static func plain(_ tensor: String, rows: Int, columns: Int) -> TensorView {
    TensorView(
      tensor: tensor, storedShape: [rows, columns], rows: rows, columns: columns,
      rowStride: columns)
  }

  /// Stored as `[columns, rows]`.
  static func transposed(_ tensor: String, rows: Int, columns: Int) -> TensorView {
    TensorView(
      tensor: tensor, storedShape: [columns, rows], rows: rows, columns: columns, rowStride: 1,
      columnStride: rows)
  }

  /// Stored as `[count]`; one element per row.
  static func vector(_ tensor: String, _ count: Int) -> TensorView {
    TensorView(tensor: tensor, storedShape: [count], rows: count, columns: 1, rowStride: 1)
  }

  /// Part `place` of three stacked side by side in `[columns, 3 · width]`.
  static func stacked(
    _ tensor: String, _ place: Int, width: Int, columns: Int
  ) -> TensorView {
    TensorView(
      tensor: tensor, storedShape: [columns, 3 * width], rows: width, columns: columns,
      offset: place * width, rowStride: 1, columnStride: 3 * width)
  }

  /// Part `place` of three stacked in `[3 · width]`.
  static func stackedVector(_ tensor: String, _ place: Int, width: Int) -> TensorView {
    TensorView(
      tensor: tensor, storedShape: [3 * width], rows: width, columns: 1, offset: place * width,
      rowStride: 1)
  }

  /// Part `place` of three in `[heads · 3 · headWidth, columns]`, where the parts of one head
  /// stand together.
  static func interleaved(
    _ tensor: String, _ place: Int, heads: Int, headWidth: Int, columns: Int
  ) -> TensorView {
    TensorView(
      tensor: tensor, storedShape: [3 * heads * headWidth, columns], rows: heads * headWidth,
      columns: columns, offset: place * headWidth * columns, blockRows: headWidth,
      blockStride: 3 * headWidth * columns, rowStride: columns)
  }

  /// Part `place` of three in `[heads · 3 · headWidth]`.
  static func interleavedVector(
    _ tensor: String, _ place: Int, heads: Int, headWidth: Int
  ) -> TensorView {
    TensorView(
      tensor: tensor, storedShape: [3 * heads * headWidth], rows: heads * headWidth, columns: 1,
      offset: place * headWidth, blockRows: headWidth, blockStride: 3 * headWidth, rowStride: 1)
  }
}

extension TensorView {
  /// Whether every element of the view is one of the first `elements` stored ones.
  ///
  /// The arithmetic is checked: a view that no tensor could hold is simply not inside.
  package func isInside(elements: Int) -> Bool {
    guard rows >= 0, columns >= 0 else { return false }
    guard rows > 0, columns > 0 else { return true }
    guard offset >= 0, blockRows > 0, blockStride >= 0, rowStride >= 0, columnStride >= 0 else {
      return false
    }
    // The last row lies furthest, or the end of the last whole block where the rest is short.
    let candidates = [rows - 1, rows / blockRows * blockRows - 1].filter { $0 >= 0 }
    return candidates.allSatisfy { row in
      guard let position = position(row: row, column: columns - 1) else { return false }
      return position < elements
    }
  }

  /// Where element (row, column) is stored, in elements; nil when that overflows.
  private func position(row: Int, column: Int) -> Int? {
    let terms = [
      (row / blockRows, blockStride), (row % blockRows, rowStride), (column, columnStride),
    ]
    var position = offset
    for (count, stride) in terms {
      let (distance, tooFar) = count.multipliedReportingOverflow(by: stride)
      let (sum, overflow) = position.addingReportingOverflow(distance)
      guard !tooFar, !overflow else { return nil }
      position = sum
    }
    return position
  }
}
