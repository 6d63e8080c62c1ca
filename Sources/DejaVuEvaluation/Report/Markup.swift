/// A piece of a page, whose text is escaped when it is written.
///
/// So no name or sentence can become an element. What is written is well-formed XML and valid HTML at
/// once.
indirect enum Markup {
  case text(String)
  case element(String, [(String, String)], [Markup])
  /// A drawing, whose own text is escaped already.
  case drawing(SVG, identifier: String)
  /// Several pieces in a row.
  case group([Markup])

  /// An element with a class, or without one.
  static func tag(_ name: String, _ style: String? = nil, _ inside: Markup...) -> Markup {
    .element(name, style.map { [("class", $0)] } ?? [], inside)
  }

  /// An element that holds only text.
  static func tag(_ name: String, _ style: String? = nil, text: String) -> Markup {
    .element(name, style.map { [("class", $0)] } ?? [], [.text(text)])
  }

  /// Elements that HTML writes without an end.
  private static let empty: Set<String> = ["meta", "br", "hr"]

  var string: String {
    switch self {
    case .text(let text): return SVG.escaped(text)
    case .group(let parts): return parts.map(\.string).joined(separator: "\n")
    case .drawing(let svg, let identifier): return svg.inline(identifier: identifier)
    case .element(let name, let attributes, let inside):
      let list = attributes.map { " \($0.0)=\"\(SVG.escaped($0.1))\"" }.joined()
      if Self.empty.contains(name) { return "<\(name)\(list)/>" }
      return "<\(name)\(list)>\(inside.map(\.string).joined())</\(name)>"
    }
  }
}

extension Markup {
  /// A table as rows of HTML: numbers to the right.
  static func table(_ table: TextTable, caption: String) -> Markup {
    let style = { (column: Int) in table.columns[column].isNumber ? "number" : "word" }
    let head = table.columns.enumerated().map { index, column in
      Markup.element("th", [("scope", "col"), ("class", style(index))], [.text(column.title)])
    }
    let body = table.rows.map { row in
      Markup.element(
        "tr", [], row.enumerated().map { .tag("td", style($0), text: $1) })
    }
    return .tag(
      "div", "wide",
      .tag(
        "table", nil, .tag("caption", nil, text: caption),
        .tag("thead", nil, .element("tr", [], head)), .element("tbody", [], body)))
  }
}
