package import DejaVuCore
import DejaVuFormats
import DejaVuJSON

/// Reads the list of entries of a predictor file's header.
package struct EntryReader {
  private let path: String
  private let index: Int
  private let value: JSON

  /// The entries in `text`, each checked against the model.
  package static func entries(
    in text: String?, path: String, architecture: Architecture
  ) throws(PredictorError) -> [PredictorEntry] {
    guard let text else {
      throw .damaged(path: path, reason: "'\(PredictorFile.Key.entries)' is missing")
    }
    let json: JSON
    do throws(JSONError) {
      json = try JSON.parse(text.utf8, limits: JSONLimits(depth: 8, values: 1 << 20))
    } catch {
      throw .damaged(path: path, reason: "its entries: \(error.description)")
    }
    guard let elements = json.elements else {
      throw .damaged(path: path, reason: "its entries are \(json.kind), not an array")
    }
    var entries: [PredictorEntry] = []
    var names: Set<String> = []
    for (index, value) in elements.enumerated() {
      let reader = EntryReader(path: path, index: index, value: value)
      let entry = try reader.entry(architecture)
      guard names.insert(entry.site.name).inserted else {
        throw .damaged(path: path, reason: "two entries are for \(entry.site.name)")
      }
      entries.append(entry)
    }
    return entries
  }

  private func entry(_ architecture: Architecture) throws(PredictorError) -> PredictorEntry {
    guard value.members != nil else {
      throw .damaged(path: path, reason: "entry \(index) is \(value.kind), not an object")
    }
    _ = try word("kind", among: ["low-rank"])
    _ = try word("norm", among: [ChooserWeights.Norm.plain.rawValue])
    let axis =
      try word("axis", among: RowAxis.allCases.map(\.rawValue)) == "heads"
      ? RowAxis.heads : .neurons
    let layer = try whole("layer", in: 0...architecture.layers - 1)
    let allowed = axis.placements.filter { axis.placement($0, at: layer) == $0 }
    let placed = try word("placement", among: allowed.map(\.rawValue))
    let rank = try whole("rank", in: 64...GroupwiseLimits.rank)
    guard rank % 64 == 0 else { throw invalid("rank", "\(rank)", "a multiple of 64") }
    let bits = try whole("bits", in: 2...8)
    guard [2, 4, 8].contains(bits) else { throw invalid("bits", "\(bits)", "2, 4 or 8") }
    guard let bias = value["bias"]?.bool else {
      throw invalid("bias", value["bias"]?.kind ?? "nothing", "true or false")
    }
    guard let criterion = value["criterion"]?.text else {
      throw invalid("criterion", value["criterion"]?.kind ?? "nothing", "a word")
    }
    return PredictorEntry(
      site: PredictorSite(
        axis: axis, layer: layer, placement: Placement(rawValue: placed) ?? allowed[0]),
      rank: rank, bits: bits, hasBias: bias, criterion: criterion,
      threshold: try real("threshold"), figures: try figures(rows: axis.rows(architecture)))
  }

  private func figures(rows: Int) throws(PredictorError) -> PredictorFigures {
    var figures = PredictorFigures()
    figures.tokens = try whole("tokens", in: 0...SafetensorsHeader.maximumExtent)
    figures.positives = try real("positives")
    figures.k98 = try whole("k98", in: 0...rows)
    figures.recall = try real("recall")
    figures.precision = try real("precision")
    figures.coveredMass = try real("covered_mass")
    figures.density98 = try real("density98")
    figures.score98 = try real("score98")
    return figures
  }

  private func invalid(_ field: String, _ found: String, _ expected: String) -> PredictorError {
    .invalidEntry(path: path, entry: index, field: field, found: found, expected: expected)
  }

  private func word(_ field: String, among words: [String]) throws(PredictorError) -> String {
    let found = value[field]
    guard let text = found?.text, words.contains(text) else {
      let shown = found?.text.map { "'\($0)'" } ?? found?.kind ?? "nothing"
      throw invalid(field, shown, words.joined(separator: " or "))
    }
    return text
  }

  private func whole(_ field: String, in range: ClosedRange<Int>) throws(PredictorError) -> Int {
    let found = value[field]
    guard let number = found?.integer, range.contains(number) else {
      throw invalid(
        field, shown(found), "a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  private func real(_ field: String) throws(PredictorError) -> Double {
    guard let number = value[field]?.double else {
      throw invalid(field, shown(value[field]), "a number")
    }
    return number
  }

  private func shown(_ value: JSON?) -> String {
    if case .number(let number) = value { return number.spelling }
    return value?.kind ?? "nothing"
  }
}

/// What the kernels can hold.
enum GroupwiseLimits {
  /// 2,048 groups of 64 lanes.
  static let rank = 64 * 2048
}
