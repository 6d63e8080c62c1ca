import Foundation

/// A drawing in SVG, element by element: lines, rectangles, circles and text with classes.
///
/// Colours live in one style sheet with a light and a dark half, so that the file reads well on
/// either ground wherever it is shown. Nothing outside the file is referred to.
struct SVG {
  let width: Double
  let height: Double
  let title: String
  /// How the drawing shows what its title says, for those who cannot see it.
  let description: String
  let style: String
  private var elements: [String] = []

  init(width: Double, height: Double, title: String, description: String = "", style: String) {
    self.width = width
    self.height = height
    self.title = title
    self.description = description
    self.style = style
  }

  mutating func line(
    _ from: (x: Double, y: Double), _ to: (x: Double, y: Double), class name: String
  ) {
    add(
      "line",
      [
        ("class", name), ("x1", Self.text(from.x)), ("y1", Self.text(from.y)),
        ("x2", Self.text(to.x)), ("y2", Self.text(to.y)),
      ])
  }

  mutating func polyline(_ points: [(x: Double, y: Double)], class name: String) {
    let list = points.map { "\(Self.text($0.x)),\(Self.text($0.y))" }.joined(separator: " ")
    add("polyline", [("class", name), ("points", list)])
  }

  /// A dot; `tip` is shown by viewers when it is pointed at.
  mutating func circle(
    _ at: (x: Double, y: Double), radius: Double, class name: String, tip: String
  ) {
    add(
      "circle",
      [
        ("class", name), ("cx", Self.text(at.x)), ("cy", Self.text(at.y)),
        ("r", Self.text(radius)),
      ], inside: "<title>\(Self.escaped(tip))</title>")
  }

  /// One of six marks that differ by shape: disc, square, triangle, diamond, ring, cross.
  mutating func mark(_ shape: Int, _ at: (x: Double, y: Double), class name: String, tip: String) {
    let r = 4.5
    let corners: [(Double, Double)]
    switch shape {
    case 0: return circle(at, radius: r, class: name, tip: tip)
    case 1: corners = [(-r, -r), (r, -r), (r, r), (-r, r)]
    case 2: corners = [(0, -1.2 * r), (1.2 * r, r), (-1.2 * r, r)]
    case 3: corners = [(0, -1.4 * r), (1.4 * r, 0), (0, 1.4 * r), (-1.4 * r, 0)]
    case 4: return circle(at, radius: r, class: name + " ring", tip: tip)
    default:
      let (a, b) = (1.3 * r, 0.45 * r)
      corners = [
        (-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b),
        (-a, -b), (-b, -b),
      ]
    }
    let points = corners.map { "\(Self.text(at.x + $0.0)),\(Self.text(at.y + $0.1))" }
    add(
      "polygon", [("class", name), ("points", points.joined(separator: " "))],
      inside: "<title>\(Self.escaped(tip))</title>")
  }

  mutating func rectangle(
    _ at: (x: Double, y: Double), _ size: (width: Double, height: Double), class name: String
  ) {
    add(
      "rect",
      [
        ("class", name), ("x", Self.text(at.x)), ("y", Self.text(at.y)),
        ("width", Self.text(size.width)), ("height", Self.text(size.height)), ("rx", "2"),
      ])
  }

  /// Text of which `anchor`, that is `start`, `middle` or `end`, is at the point.
  mutating func text(
    _ text: String, _ at: (x: Double, y: Double), class name: String, anchor: String = "start"
  ) {
    add(
      "text",
      [
        ("class", name), ("x", Self.text(at.x)), ("y", Self.text(at.y)),
        ("text-anchor", anchor),
      ], inside: Self.escaped(text))
  }

  /// The whole file.
  var document: String { document(style: style) }

  /// The whole file with this style sheet.
  func document(style: String) -> String {
    """
    <?xml version="1.0" encoding="UTF-8"?>
    <svg xmlns="http://www.w3.org/2000/svg" width="\(Self.text(width))" \
    height="\(Self.text(height))" viewBox="0 0 \(Self.text(width)) \(Self.text(height))" role="img">
    <title>\(Self.escaped(title))</title>
    <style>
    \(style)
    </style>
    <rect class="ground" width="\(Self.text(width))" height="\(Self.text(height))"/>
    \(elements.joined(separator: "\n"))
    </svg>

    """
  }

  /// The drawing as a part of a page that has its style: as wide as there is room.
  ///
  /// - Parameter identifier: unique in the page; names title and description.
  /// - Returns: the element.
  func inline(identifier: String) -> String {
    """
    <svg viewBox="0 0 \(Self.text(width)) \(Self.text(height))" role="img" \
    aria-labelledby="\(identifier)-title \(identifier)-description">
    <title id="\(identifier)-title">\(Self.escaped(title))</title>
    <desc id="\(identifier)-description">\(Self.escaped(description))</desc>
    \(elements.joined(separator: "\n"))
    </svg>
    """
  }

  private mutating func add(
    _ name: String, _ attributes: [(String, String)], inside: String? = nil
  ) {
    let list = attributes.map { " \($0.0)=\"\(Self.escaped($0.1))\"" }.joined()
    elements.append(inside.map { "<\(name)\(list)>\($0)</\(name)>" } ?? "<\(name)\(list)/>")
  }

  /// A coordinate, to a hundredth.
  private static func text(_ value: Double) -> String {
    let rounded = (value * 100).rounded() / 100
    return rounded == rounded.rounded() ? String(Int(rounded)) : String(format: "%.2f", rounded)
  }

  static func escaped(_ text: String) -> String {
    var out = ""
    for character in text.unicodeScalars {
      switch character {
      case "&": out += "&amp;"
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "\"": out += "&quot;"
      // XML has no way to write other control characters.
      case _ where character.value < 32 || character.value & 0xFFFE == 0xFFFE: out += " "
      default: out.unicodeScalars.append(character)
      }
    }
    return out
  }
}

/// A linear axis from 0 with round numbers at its ticks.
struct PlotAxis: Hashable {
  /// The end of the axis, not below the greatest value.
  let end: Double
  let step: Double

  /// An axis for values up to `greatest` with about so many ticks.
  init(greatest: Double, ticks: Int) {
    guard greatest > 0, greatest.isFinite else {
      (end, step) = (1, 1)
      return
    }
    let rough = greatest / Double(ticks)
    let power = pow(10, floor(log10(rough)))
    step = [1, 2, 2.5, 5, 10].map { $0 * power }.first { $0 >= rough * (1 - 1e-9) } ?? 10 * power
    end = step * (greatest / step - 1e-9).rounded(.up)
  }

  /// From 0 to `end`, both included.
  var ticks: [Double] {
    let count = Int((end / step).rounded())
    return (0...count).map { $0 == count ? end : Double($0) * step }
  }

  /// As few digits as the step needs.
  func label(_ value: Double) -> String {
    step == step.rounded() ? String(Int(value.rounded())) : String(format: "%g", value)
  }
}
