import DejaVuEvaluation
import Foundation
import Testing

/// The report's page as a file: what it holds, and what it must not.
struct ReportPageTests {
  private let report: SparsityReport
  private let html: String
  private let page: ParsedPage

  init() throws {
    report = try ReportSample.report.get()
    html = report.html
    page = ParsedPage(html)
  }

  @Test func `the page is well-formed and says what it is about`() throws {
    #expect(page.error == nil)
    #expect(html.hasPrefix("<!DOCTYPE html>\n<html lang=\"en\""))
    let title = try #require(page.all("title").first?.text)
    #expect(title.contains("Contextual sparsity of opt <script>"))
    let questions = page.all("h3").map(\.text)
    for word in [
      "counts", "How few rows", "context changes", "stream", "Heads", "choosers", "Nearest",
    ] {
      #expect(questions.contains { $0.contains(word) }, "no \(word) in \(questions)")
    }
  }

  @Test func `names cannot become elements, and nothing outside is referred to`() {
    #expect(page.all("script").isEmpty && !html.contains("<script"))
    #expect(page.all("h2").first?.text == "opt <script>alert(1)</script> & \"x\" 'y' ")
    for name in ["link", "img", "iframe", "object", "base", "a", "use", "image", "form"] {
      #expect(page.all(name).isEmpty, "there is a <\(name)>")
    }
    for element in page.elements {
      for (key, value) in element.attributes where key != "xmlns" {
        #expect(!["href", "src", "xlink:href", "style"].contains(key) && !key.hasPrefix("on"))
        #expect(!value.contains("://") && !value.contains("url("), "\(key) is \(value)")
      }
    }
    let style = page.all("style").map(\.text).joined()
    #expect(!style.contains("url(") && !style.contains("@import"))
    #expect(style.contains("prefers-color-scheme: dark"))
    // HTML takes a style as it stands: what XML has to escape would spoil a rule.
    #expect(!style.contains { "&<\"'".contains($0) })
  }

  @Test func `every drawing is named, described and followed by its figures`() throws {
    let drawings = page.elements.indices.filter { page.elements[$0].name == "svg" }
    #expect(drawings.count >= 16)
    var identifiers: Set<String> = []
    for place in drawings {
      let attributes = page.elements[place].attributes
      #expect(attributes["role"] == "img")
      for (name, suffix) in [("title", "title"), ("desc", "description")] {
        let named = try #require(page.all(name, in: place).first)
        let id = try #require(named.attributes["id"])
        #expect(!named.text.isEmpty && id.hasSuffix(suffix))
        #expect(attributes["aria-labelledby"]?.split(separator: " ").contains(id[...]) == true)
        #expect(identifiers.insert(id).inserted)
      }
      let figure = try #require(page.elements[place].ancestors.last)
      #expect(page.elements[figure].name == "figure")
      #expect(page.all("table", in: figure).count == 1)
      #expect(page.all("caption", in: figure).first?.text == page.all("h4", in: figure).first?.text)
      #expect(page.all("td", in: figure).count > 2)
    }
  }

  @Test func `drawings stay within their frames and hold every series they name`() throws {
    for place in page.elements.indices where page.elements[place].name == "svg" {
      let box = try #require(page.elements[place].attributes["viewBox"])
        .split(separator: " ").compactMap { Double($0) }
      for element in page.elements where element.ancestors.contains(place) {
        for (keys, limit) in [
          (["x", "x1", "x2", "cx"], box[2]), (["y", "y1", "y2", "cy"], box[3]),
        ] {
          for key in keys {
            guard let value = element.attributes[key].flatMap(Double.init) else { continue }
            #expect(value >= 0 && value <= limit, "\(element)")
          }
        }
      }
      // A line with a dash and a mark of its own for each series.
      let lines = page.all("polyline", in: place).compactMap { $0.attributes["class"] }
      #expect(Set(lines).count == lines.count)
    }
  }

  @Test func `titles state the figures that are in the JSON, which reads back`() throws {
    #expect(try SparsityReport(earlier: Array(report.json().utf8)) == report)
    let headline = try #require(report.models[0].headline)
    let speed = try #require(headline.rows.last?.speedupOverDense.value)
    let titles = page.all("h4").map(\.text)
    #expect(titles.contains { $0.contains(String(format: "%.2f times as fast as dense", speed)) })
    let ratios = report.models[0].existence.clustering.compactMap(\.distanceRatio.value)
    let drawn = ratios.filter { $0 < 0.5 }.count
    #expect(titles.contains { $0.hasPrefix("\(drawn) of \(ratios.count) heads at least halve") })
    #expect(headline.rows.map(\.mode) == ["dense", "exact", "sparse"])
    #expect(headline.rows[0].speedupOverDense.value == 1)
    #expect(headline.rows[1].perplexity == headline.rows[0].perplexity)
    let sweep = try #require(report.sweeps.first)
    let best = try #require(
      sweep.rows.filter { $0.part == .mlp && $0.density.value == 0.25 }
        .filter { !$0.selector.hasPrefix("static") }
        .max { ($0.prompt?.sameChoice.value ?? 0) < ($1.prompt?.sameChoice.value ?? 0) })
    #expect(
      titles.contains {
        $0.hasPrefix("25.0 % of the neurons: ")
          && $0.contains(best.prompt?.sameChoice.percent ?? "nothing")
      })
    #expect(titles.contains { $0.hasPrefix("Sets for one task cost the others ") })
    #expect(titles.contains { $0.hasPrefix("oracle of 25.0 % of the heads: ") })
  }

  @Test(arguments: ["", "{}", "{\"schema\": \"dejavu/bench/1\", \"rows\": []}", "[1"])
  func `another file than the script's is refused in words`(text: String) {
    let error = #expect(throws: ReportError.self) { try NearestRows(json: Data(text.utf8)) }
    #expect(error.map { "\($0)".contains("Scripts/nearest_rows.py") } == true)
    let other = #expect(throws: ReportError.self) { try SparsityReport(earlier: Array(text.utf8)) }
    #expect(other.map { "\($0)".contains("--from") } == true)
  }
}
