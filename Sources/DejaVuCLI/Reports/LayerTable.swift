import DejaVuCore
import DejaVuEvaluation
import DejaVuModels

/// A plan layer by layer, as its evaluation found it: chooser, rows, bytes.
struct LayerTable {
  let sparsity: Sparsity
  let figures: SetFigures
  let model: PackedModel

  private var layers: Range<Int> { sparsity.plan.layers.indices }

  var lines: [String] {
    var header = [
      "layer", "neurons", "density", "recall", "precision", "mass", "kB/token", "MLP bytes",
    ]
    let hasHeads = sparsity.plan.layers.contains { $0.heads != .all }
    if hasHeads { header += ["heads", "density", "recall", "mass"] }
    let body = layers.map { layer in
      let (neurons, heads) = (figures.neurons[layer], figures.heads[layer])
      var cells = [
        String(layer), word(.neurons, layer), percent(neurons.density), percent(neurons.recall),
        percent(neurons.precision), percent(neurons.coveredMass),
        Quantity.decimals(bytes(layer) / 1000, 0), percent(bytes(layer) / allBytes(layer)),
      ]
      if hasHeads {
        cells += [
          word(.heads, layer), percent(heads.density), percent(heads.recall),
          percent(heads.coveredMass),
        ]
      }
      return cells
    }
    return TextColumns.lines([header] + body)
  }

  var rows: [JSONValue] {
    layers.map { layer in
      [
        "layer": .whole(layer), "neurons": Self.members(figures.neurons[layer]),
        "heads": Self.members(figures.heads[layer]),
        "neuron_chooser": chooser(.neurons, layer), "head_chooser": chooser(.heads, layer),
        "mlp_bytes_per_token": .real(bytes(layer)),
        "mlp_byte_share": .real(bytes(layer) / allBytes(layer)),
      ]
    }
  }

  /// Density, recall, precision and covered mass; `null` where sets were not looked at.
  static func members(_ figures: RowFigures?) -> JSONValue {
    guard let figures else { return .null }
    return [
      "density": .real(figures.density), "recall": .real(figures.recall),
      "precision": .real(figures.precision), "covered_mass": .real(figures.coveredMass),
    ]
  }

  private func percent(_ share: Double) -> String { Quantity.decimals(100 * share, 1) + " %" }

  private func policy(_ axis: RowAxis, _ layer: Int) -> RowPolicy {
    axis == .heads ? sparsity.plan.layers[layer].heads : sparsity.plan.layers[layer].neurons
  }

  private func weights(_ axis: RowAxis, _ layer: Int) -> ChooserWeights? {
    policy(axis, layer).chooser.flatMap {
      sparsity.choosers[ChooserSite(layer: layer, axis: axis, kind: $0.kind)]
    }
  }

  /// The policy in words, with the rank of a low-rank predictor.
  private func word(_ axis: RowAxis, _ layer: Int) -> String {
    let word = PlanTable.word(policy(axis, layer))
    guard let weights = weights(axis, layer), weights.second != nil else { return word }
    return "\(word), rank \(weights.first.rows), \(weights.first.bits) bits"
  }

  private func chooser(_ axis: RowAxis, _ layer: Int) -> JSONValue {
    let weights = weights(axis, layer)
    return [
      "kind": .text(PlanTable.word(policy(axis, layer))),
      "bits": weights.map { .whole($0.first.bits) } ?? .null,
      "rank": weights?.second == nil ? .null : weights.map { .whole($0.first.rows) } ?? .null,
      "bytes": .whole(weights?.byteCount ?? 0),
    ]
  }

  /// What a token reads: chooser, up rows of the chosen, down rows of those that are active.
  private func bytes(_ layer: Int) -> Double {
    let (bundle, figures) = (model.layers[layer].bundle, figures.neurons[layer])
    let tokens = Double(max(figures.tokens, 1))
    let policy = policy(.neurons, layer)
    if policy == .all { return allBytes(layer) }
    let up = Double(policy.choosesRows ? figures.chosen : figures.rows)
    let rows = (up * Double(bundle.rowsPerNeuron - 1) + Double(figures.active)) / tokens
    return rows * Double(bundle.matrix.rowBytes) + Double(weights(.neurons, layer)?.byteCount ?? 0)
  }

  private func allBytes(_ layer: Int) -> Double {
    let matrix = model.layers[layer].bundle.matrix
    return Double(matrix.rows * matrix.rowBytes)
  }
}

/// Cells in columns, each as wide as its widest, flush right.
enum TextColumns {
  static func lines(_ table: [[String]]) -> [String] {
    let widths = (table.first ?? []).indices.map { column in
      table.map { $0[column].count }.max() ?? 0
    }
    return table.map { row in
      zip(row, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }
        .joined(separator: "  ")
    }
  }
}
