import DejaVuEvaluation
import Foundation
import Testing

#if canImport(FoundationXML)
  import FoundationXML
#endif

/// Elements of a drawing, as a parser of XML sees them.
private final class Drawing: NSObject, XMLParserDelegate {
  struct Element {
    let name: String
    let attributes: [String: String]
    var text = ""
  }

  private(set) var elements: [Element] = []
  private var open: [Int] = []
  private(set) var error: (any Error)?

  init(_ svg: String) {
    super.init()
    let parser = XMLParser(data: Data(svg.utf8))
    parser.delegate = self
    if !parser.parse() { error = parser.parserError }
  }

  func parser(
    _ parser: XMLParser, didStartElement name: String, namespaceURI: String?,
    qualifiedName: String?, attributes: [String: String]
  ) {
    open.append(elements.count)
    elements.append(Element(name: name, attributes: attributes))
  }

  func parser(
    _ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?
  ) {
    open.removeLast()
  }

  func parser(_ parser: XMLParser, foundCharacters text: String) {
    if let last = open.last { elements[last].text += text }
  }

  func all(_ name: String, _ style: String? = nil) -> [Element] {
    elements.filter { element in
      element.name == name
        && style.map { (element.attributes["class"] ?? "").split(separator: " ").contains($0[...]) }
          ?? true
    }
  }

  /// Coordinates of every element.
  func numbers(_ key: String) -> [Double] {
    elements.compactMap { $0.attributes[key].flatMap(Double.init) }
  }
}

struct SpeedPlotTests {
  private func drawing(_ report: SpeedReport) throws -> Drawing {
    let drawing = Drawing(report.svg)
    #expect(drawing.error == nil, "\(report.svg)")
    return drawing
  }

  @Test func `the drawing is well-formed and names what it shows`() throws {
    let drawing = try drawing(.sample())
    let texts = drawing.all("text").map(\.text)
    for text in [
      "opt-1.3b, float16, synthetic weights", "dense", "exact", "sparse, 50 % of heads",
      "sparse, all heads", "depth 128, 2 threads", "neurons computed (%)",
      "dense 83.0 ms, exact 63.0 ms", "0",
    ] {
      #expect(texts.contains(text), "\(text) is not among \(texts)")
    }
    #expect(texts.contains { $0.hasPrefix("ms per token") && $0.contains("Example CPU") })
    #expect(drawing.all("svg").first?.attributes["viewBox"] != nil)
    let style = try #require(drawing.all("style").first?.text)
    #expect(style.contains("prefers-color-scheme: dark"))
  }

  @Test func `every sparse row is a dot at its density with its figures`() throws {
    let drawing = try drawing(.sample())
    // Three dots, and one for each series in the legend.
    #expect(drawing.all("circle").count == 3 + 2)
    let tips = drawing.all("title").map(\.text)
    #expect(tips.contains("sparse, 50 % of heads: 30.0 ms (p95 30.9) at 10"))
    #expect(tips.contains("sparse, all heads: 33.0 ms (p95 34.7) at 0"))
    // The faster row is drawn below the slower one, and nothing outside the drawing.
    let dots = Dictionary(
      zip(drawing.all("circle").map { $0.attributes["cy"] ?? "" }, drawing.all("circle")),
      uniquingKeysWith: { $1 })
    #expect(dots.count >= 4)
    let size = try #require(
      drawing.all("svg").first?.attributes["height"].flatMap(Double.init))
    for key in ["y", "y1", "y2", "cy"] {
      #expect(drawing.numbers(key).allSatisfy { $0 >= 0 && $0 <= size })
    }
  }

  @Test func `depths and threads have panels of their own, of one scale`() throws {
    var report = SpeedReport.sample()
    let rows = report.decode
    for (threads, depth) in [(2, 512), (1, 128), (1, 512)] {
      report.decode += try rows.map { row in
        var text = try #require(
          JSONSerialization.jsonObject(with: JSONEncoder().encode(row)) as? [String: Any])
        (text["threads"], text["depth"]) = (threads, depth)
        return try JSONDecoder().decode(
          SpeedReport.DecodeRow.self, from: JSONSerialization.data(withJSONObject: text))
      }
    }
    let texts = try drawing(report).all("text").map(\.text)
    for title in ["depth 128, 2 threads", "depth 512, 2 threads", "depth 512, one thread"] {
      #expect(texts.filter { $0 == title }.count == 1)
    }
    #expect(texts.filter { $0 == "dense" }.count == 1)
  }

  @Test func `without sparse rows the depth is the axis`() throws {
    var report = SpeedReport.sample()
    report.decode.removeAll { $0.mode == "sparse" }
    let drawing = try drawing(report)
    #expect(drawing.all("text").map(\.text).contains("depth (positions)"))
    #expect(drawing.all("circle").count == 2 + 2)
  }

  @Test func `names that would end an element are written as text`() throws {
    var report = SpeedReport.sample()
    report.model = .init(
      shape: "a <b> & \"c\"\u{1}", dtype: "float16", synthetic: false, recipe: nil, weightBytes: 1)
    let drawing = try drawing(report)
    #expect(drawing.all("text").first?.text == "a <b> & \"c\" , float16, real weights")
  }
}
