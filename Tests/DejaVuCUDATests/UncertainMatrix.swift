/// A matrix of numbers, each with the variance of how far it is off.
struct UncertainMatrix {
  var values: [[Double]]
  var variances: [[Double]]

  /// Numbers that are what they are.
  init(_ values: [[Double]]) {
    self.values = values
    variances = values.map { $0.map { _ in 0 } }
  }

  /// Rows as columns.
  var turned: UncertainMatrix {
    var turned = self
    for path in [\UncertainMatrix.values, \.variances] {
      let rows = self[keyPath: path]
      turned[keyPath: path] = (rows.first ?? []).indices.map { column in rows.map { $0[column] } }
    }
    return turned
  }

  /// A product whose factors are TF32, numbers of 10 bits of mantissa.
  ///
  /// A factor that is rounded is off by 2^-11 of itself at most, on the average of squares by 2^-11 / √3.
  /// PyTorch's notes have it that a card reads the first 10 bits, and 2^-10 / √3 covers both; an emulated
  /// card rounds. A term has two such factors, whose own errors it passes on, and variances of what is
  /// independent add up.
  static func * (a: UncertainMatrix, b: UncertainMatrix) -> UncertainMatrix {
    let columns = b.values.first?.indices ?? 0..<0
    let unit = TestCard.isReal ? 0x1p-10 : 0x1p-11
    var product = UncertainMatrix(a.values.map { _ in columns.map { _ in 0 } })
    for (i, row) in a.values.enumerated() {
      for (k, x) in row.enumerated() {
        for j in columns {
          let y = b.values[k][j]
          let (squareX, squareY) = (x * x + a.variances[i][k], y * y + b.variances[k][j])
          product.values[i][j] += x * y
          product.variances[i][j] +=
            squareX * squareY - x * x * y * y + 2 * unit * unit / 3 * squareX * squareY
        }
      }
    }
    return product
  }
}
