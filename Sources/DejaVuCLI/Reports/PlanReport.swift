import DejaVuCore
import DejaVuEvaluation
import DejaVuModels

/// What `calibrate` says about the plan it found.
struct PlanReport {
  let calibration: Calibration
  let path: String
  let folder: String
  let fingerprint: String

  private var plan: SparsityPlan { calibration.sparsity.plan }
  private var measured: [String: Double] { plan.measured }

  var text: String {
    let decoded = calibration.confirmation
    var lines = [
      "plan '\(plan.name)' stored in \(path)",
      "perplexity \(signed(calibration.damage.perplexityIncrease)) % on "
        + "\(calibration.damage.tokens) tokens; through decode "
        + "\(signed(exponential(decoded.lossIncrease) - 1)) % ± "
        + "\(percent(decoded.standardError, 2)) % on \(decoded.tokens)",
      "rows computed: \(percent(measured["density"] ?? 1, 1)) % by bytes, "
        + "\(percent(measured["mlp_density"] ?? 1, 1)) % of neurons, "
        + "\(percent(measured["head_density"] ?? 1, 1)) % of heads",
      "bytes read in decode, choosers included: \(percent(decoded.mlpByteShare, 1)) % of the MLP's, "
        + "\(percent(decoded.byteShare, 1)) % of all weights", "",
    ]
    lines += PlanTable(plan: plan).lines
    lines += ["", "what competed: bytes read, choosers included, and the divergence it costs"]
    lines += competition
    return lines.joined(separator: "\n")
  }

  /// One line for each chooser of each layer.
  private var competition: [String] {
    calibration.choosers.map { figures in
      let points = figures.points.map { point in
        "mass \(percent(point.mass, 1)) %: \(percent(point.density, 1)) % of rows, "
          + "\(percent(point.byteShare, 1)) % of bytes"
          + (point.divergence.map { ", \(Quantity.decimals($0, 5)) nats" } ?? "")
      }
      let note = figures.wasMeasured ? "" : " (reads more than another at every mass)"
      return "layer \(figures.layer) \(figures.axis.rawValue), \(figures.chooser)\(note): "
        + points.joined(separator: "; ")
    }
  }

  var json: JSONValue {
    let decoded = calibration.confirmation
    return [
      "schema": "dejavu/calibrate/1", "model": .text(folder), "fingerprint": .text(fingerprint),
      "plan": .text(plan.name), "path": .text(path), "weight_format": .text(plan.weightFormat),
      "perplexity_increase": .real(calibration.damage.perplexityIncrease),
      "divergence": .real(calibration.damage.divergence),
      "tokens": .whole(calibration.damage.tokens),
      "decode_perplexity_increase": .real(exponential(decoded.lossIncrease) - 1),
      "decode_standard_error": .real(decoded.standardError),
      "decode_tokens": .whole(decoded.tokens),
      "density": .real(measured["density"] ?? 1),
      "mlp_density": .real(measured["mlp_density"] ?? 1),
      "head_density": .real(measured["head_density"] ?? 1),
      "mlp_byte_share": .real(decoded.mlpByteShare), "byte_share": .real(decoded.byteShare),
      "layers": .array(PlanTable(plan: plan).rows),
      "choosers": .array(calibration.choosers.map(Self.object)),
    ]
  }

  private static func object(_ figures: ChooserFigures) -> JSONValue {
    [
      "layer": .whole(figures.layer), "axis": .text(figures.axis.rawValue),
      "chooser": .text(figures.chooser), "measured": .bool(figures.wasMeasured),
      "points": .array(
        figures.points.map { point in
          [
            "covered_mass": .real(point.mass), "density": .real(point.density),
            "byte_share": .real(point.byteShare),
            "divergence": point.divergence.map { .real($0) } ?? .null,
          ]
        }),
    ]
  }

  private func percent(_ share: Double, _ digits: Int) -> String {
    Quantity.decimals(100 * share, digits)
  }

  private func signed(_ share: Double) -> String {
    (share < 0 ? "" : "+") + percent(share, 2)
  }
}

/// A plan layer by layer: choosers, covered mass, rows, bytes.
struct PlanTable {
  let plan: SparsityPlan

  private static let keys = ["covered_mass", "density", "recall", "precision", "byte_share"]

  var lines: [String] {
    let header = [
      "layer", "heads", "mass", "density", "bytes", "neurons", "mass", "density", "recall",
      "precision", "MLP bytes",
    ]
    let body = plan.layers.enumerated().map { index, layer in
      [String(index), Self.word(layer.heads)]
        + ["head_covered_mass", "head_density", "head_byte_share"].map { percent(layer, $0) }
        + [Self.word(layer.neurons)] + Self.keys.map { percent(layer, $0) }
    }
    let table = [header] + body
    let widths = header.indices.map { column in table.map { $0[column].count }.max() ?? 0 }
    return table.map { row in
      zip(row, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }
        .joined(separator: "  ")
    }
  }

  private func percent(_ layer: LayerPlan, _ key: String) -> String {
    layer.measured[key].map { Quantity.decimals(100 * $0, 1) + " %" } ?? "-"
  }

  var rows: [JSONValue] {
    plan.layers.enumerated().map { index, layer in
      .object(
        [
          ("layer", .whole(index)), ("heads", .text(Self.word(layer.heads))),
          ("neurons", .text(Self.word(layer.neurons))),
        ] + layer.measured.sorted { $0.key < $1.key }.map { ($0.key, .real($0.value)) })
    }
  }

  static func word(_ policy: RowPolicy) -> String {
    switch policy {
    case .all: "all"
    case .nonzero: "exact"
    case .oracle: "oracle"
    case .nearest: "nearest"
    case .shadow(let bits, let placement, let rule):
      "shadow, \(bits) bits" + place(placement) + word(rule)
    case .nested(let rule): "high bits" + word(rule)
    case .lowRank(let placement, let rule): "low rank" + place(placement) + word(rule)
    case .fixed(let rows): "\(rows.count) fixed"
    case .random(let density, _): "random \(density)"
    }
  }

  /// The nearest place goes without saying.
  private static func place(_ placement: Placement) -> String {
    placement == .afterAttention || placement == .same ? "" : ", \(placement.rawValue)"
  }

  private static func word(_ rule: ChoiceRule) -> String {
    if case .highest(let count) = rule { ", \(count)" } else { "" }
  }
}
