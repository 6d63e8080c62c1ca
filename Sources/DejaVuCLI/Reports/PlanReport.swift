import DejaVuCore
import DejaVuEvaluation
import DejaVuModels

/// What `calibrate` says about the plan it found.
struct PlanReport {
  let plan: SparsityPlan
  let damage: Damage
  let path: String
  let folder: String

  var text: String {
    var lines = [
      "plan '\(plan.name)' stored in \(path)",
      "perplexity +\(percent(damage.perplexityIncrease, 2)) % on \(damage.tokens) tokens, "
        + "\(percent(plan.measured["mlp_byte_share"] ?? 1, 1)) % of the MLP's bytes", "",
    ]
    lines += PlanTable(plan: plan).lines
    return lines.joined(separator: "\n")
  }

  var json: JSONValue {
    [
      "schema": "dejavu/calibrate/1", "model": .text(folder), "plan": .text(plan.name),
      "path": .text(path), "perplexity_increase": .real(damage.perplexityIncrease),
      "divergence": .real(damage.divergence), "tokens": .whole(damage.tokens),
      "mlp_byte_share": .real(plan.measured["mlp_byte_share"] ?? 1),
      "layers": .array(PlanTable(plan: plan).rows),
    ]
  }

  private func percent(_ share: Double, _ digits: Int) -> String {
    Quantity.decimals(100 * share, digits)
  }
}

/// A plan layer by layer: chooser, covered mass, rows, bytes.
struct PlanTable {
  let plan: SparsityPlan

  var lines: [String] {
    let header = ["layer", "neurons", "mass", "density", "recall", "precision", "MLP bytes"]
    let body = plan.layers.enumerated().map { index, layer in
      [String(index), Self.word(layer.neurons)]
        + ["covered_mass", "density", "recall", "precision", "byte_share"].map { key in
          layer.measured[key].map { Quantity.decimals(100 * $0, 1) + " %" } ?? "-"
        }
    }
    let table = [header] + body
    let widths = header.indices.map { column in table.map { $0[column].count }.max() ?? 0 }
    return table.map { row in
      zip(row, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }
        .joined(separator: "  ")
    }
  }

  var rows: [JSONValue] {
    plan.layers.enumerated().map { index, layer in
      .object(
        [("layer", .whole(index)), ("neurons", .text(Self.word(layer.neurons)))]
          + layer.measured.sorted { $0.key < $1.key }.map { ($0.key, .real($0.value)) })
    }
  }

  static func word(_ policy: RowPolicy) -> String {
    switch policy {
    case .all: "all"
    case .nonzero: "exact"
    case .oracle: "oracle"
    case .nearest: "nearest"
    case .shadow(let bits, _, _): "shadow, \(bits) bits"
    case .lowRank(let placement, _): "low rank, \(placement.rawValue)"
    case .fixed(let rows): "\(rows.count) fixed"
    case .random(let density, _): "random \(density)"
    }
  }
}
