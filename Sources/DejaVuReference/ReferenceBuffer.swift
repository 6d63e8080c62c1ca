/// `[T, width]` floats, one array per token.
package final class ReferenceBuffer {
  package var rows: [[Float]]

  package init(capacity: Int, width: Int) {
    rows = Array(repeating: Array(repeating: 0, count: width), count: capacity)
  }

  package subscript(token: Int) -> [Float] {
    get { rows[token] }
    set {
      precondition(
        newValue.count == rows[token].count,
        "\(newValue.count) values for a row of \(rows[token].count)")
      rows[token] = newValue
    }
  }
}
