/// Columns of text for people: words to the left, numbers to the right.
struct TextTable {
  struct Column {
    let title: String
    let isNumber: Bool

    static func word(_ title: String) -> Column { Column(title: title, isNumber: false) }
    static func number(_ title: String) -> Column { Column(title: title, isNumber: true) }
  }

  let columns: [Column]
  var rows: [[String]] = []

  init(_ columns: [Column]) { self.columns = columns }

  /// Titles and rows; columns two spaces apart, no space at the end of a line.
  var text: String {
    let lines = [columns.map(\.title)] + rows
    let widths = columns.indices.map { column in
      lines.map { $0[column].count }.max() ?? 0
    }
    return lines.map { line in
      let cells = columns.indices.map { column in
        let space = String(repeating: " ", count: widths[column] - line[column].count)
        return columns[column].isNumber ? space + line[column] : line[column] + space
      }
      var joined = cells.joined(separator: "  ")
      while joined.last == " " { joined.removeLast() }
      return joined
    }.joined(separator: "\n") + "\n"
  }
}
