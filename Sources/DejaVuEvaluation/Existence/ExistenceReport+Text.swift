extension ExistenceReport {
  /// Tables for people.
  package var text: String {
    let head = """
      \(model.name): \(model.layers) layers of \(model.heads) heads and \(model.neurons) neurons\
      \(model.synthetic ? ", synthetic weights: nothing here is about quality" : "")
      \(method.tokens) tokens in \(method.windows) windows; \(method.lessonTokens) to learn from

      """
    let parts = [
      ("Two passes: what is left with the largest contributions only", twoPassTable),
      ("By layer: rows needed, norms of outputs", layerTable),
      (
        "Sets at \(method.neuronDensity.percent) of neurons and \(method.headDensity.percent) of heads: "
          + "shared with", sharingTable
      ),
      ("Ways to choose at equal density", selectorTable),
      ("Covered mass by layer", massTable),
      ("The stream: cosines and norms", driftTable),
      ("Heads: distances behind attention over distances before, entropy of weights", headTable),
      ("Choosers of the plan", chooserTable),
    ]
    let tables = parts.filter { !$0.1.rows.isEmpty }.map { "\n\($0.0)\n\n\($0.1.text)" }
    return head + tables.joined() + (notes.isEmpty ? "" : "\n")
      + notes.map { "note: \($0)\n" }.joined()
  }

  var twoPassTable: TextTable {
    var table = TextTable([
      .word("kept of"), .number("mass"), .number("heads"), .number("neurons"),
      .number("parameters"), .number("fewer"), .number("same token"), .number("KL, nats"),
      .word(""),
    ])
    for kept in TwoPassRow.Kept.allCases {
      let enough = twoPass.sufficient(kept)
      table.rows += twoPass.rows(kept).map { row in
        [
          kept.rawValue, row.keptMass.percent, row.headDensity.percent, row.neuronDensity.percent,
          row.parameterShare.percent, Figure(row.reduction).text(2) + "x",
          row.agreement.percent, row.divergence.text(4), row == enough ? "enough" : "",
        ]
      }
    }
    return table
  }

  private func norm(_ axis: String, _ layer: Int) -> NormHistogram? {
    norms.first { $0.axis == axis && $0.layer == layer }
  }

  /// Shares of rows that suffice with both axes sparse, or the most that was tried.
  var layerTable: TextTable {
    let row = twoPass.sufficient(.both) ?? twoPass.rows(.both).last
    var table = TextTable([
      .number("layer"), .number("heads"), .number("neurons"), .number("zero neurons"),
      .number("top tenth of neurons"), .number("top tenth of heads"),
    ])
    for layer in 0..<model.layers {
      guard let row, layer < row.headDensities.count else { break }
      table.rows.append([
        String(layer), row.headDensities[layer].percent, row.neuronDensities[layer].percent,
        norm("neurons", layer)?.zeroShare.percent ?? "-",
        norm("neurons", layer)?.topTenthMass.percent ?? "-",
        norm("heads", layer)?.topTenthMass.percent ?? "-",
      ])
    }
    return table
  }

  var sharingTable: TextTable {
    var table = TextTable([
      .word("rows"), .number("layer"), .number("neighbour"), .number("same token elsewhere"),
      .number("another token"), .number("static set"), .number("chance"),
    ])
    table.rows = sharing.map {
      [
        $0.axis, String($0.layer), $0.neighbour.percent, $0.sameToken.percent,
        $0.otherToken.percent, $0.staticSet.percent, $0.density.percent,
      ]
    }
    return table
  }

  var selectorTable: TextTable {
    var table = TextTable([
      .word("rows"), .word("chosen by"), .number("density"), .number("recall"),
      .number("precision"), .number("mass"), .number("perplexity"), .number("std. error"),
      .number("same token"), .number("ms a token"), .number("speed"),
    ])
    table.rows = selectors.map {
      [
        $0.axis, $0.selector, $0.density.percent, $0.recall.percent, $0.precision.percent,
        $0.coveredMass.percent, "+" + $0.perplexityIncrease.percent, $0.standardError.percent,
        $0.agreement.percent, $0.milliseconds.text(2), $0.speedup.text(2),
      ]
    }
    return table
  }

  var massTable: TextTable {
    let ways = selectors.map { ($0.axis, $0.selector) }
    var table = TextTable([.number("layer")] + ways.map { .number("\($0.0): \($0.1)") })
    guard !ways.isEmpty else { return table }
    table.rows = (0..<model.layers).map { layer in
      [String(layer)]
        + ways.map { axis, way in
          selectorLayers.first { $0.axis == axis && $0.selector == way && $0.layer == layer }?
            .coveredMass.percent ?? "-"
        }
    }
    return table
  }

  var driftTable: TextTable {
    var table = TextTable([
      .number("layer"), .number("around attention"), .number("around MLP"),
      .number("around layer"), .number("norm of stream"), .number("attention adds"),
      .number("MLP adds"),
    ])
    table.rows = drift.map {
      [
        String($0.layer), $0.attentionCosine.text(3), $0.mlpCosine.text(3), $0.layerCosine.text(3),
        $0.streamNorm.text(2), $0.attentionNorm.text(2), $0.mlpNorm.text(2),
      ]
    }
    return table
  }

  /// A line for every layer: the middle head and the extremes.
  var headTable: TextTable {
    var table = TextTable([
      .number("layer"), .number("ratio"), .number("lowest to highest"), .number("entropy"),
      .number("lowest to highest"), .number("uniform heads"),
    ])
    for layer in 0..<model.layers {
      let heads = clustering.filter { $0.layer == layer }
      guard !heads.isEmpty else { continue }
      let ratio = Spread(heads.compactMap(\.distanceRatio.value))
      let entropy = Spread(heads.compactMap(\.entropy.value))
      table.rows.append([
        String(layer), ratio.median.text(2), ratio.text(2), entropy.median.text(2),
        entropy.text(2), String(heads.filter(\.isUniform).count),
      ])
    }
    return table
  }

  var chooserTable: TextTable {
    var table = TextTable([
      .word("rows"), .number("layer"), .word("chooser"), .word("placement"), .number("rank"),
      .number("bits"), .number("kB"), .number("density"), .number("recall"), .number("precision"),
      .number("mass"), .number("mass planned"),
    ])
    table.rows = choosers.flatMap(\.rows).map {
      [
        $0.axis, String($0.layer), $0.chooser, $0.placement, $0.rank.text(0), $0.bits.text(0),
        Figure(Double($0.bytes) / 1000).text(0), $0.density.percent, $0.recall.percent,
        $0.precision.percent, $0.coveredMass.percent, $0.plannedMass.percent,
      ]
    }
    return table
  }
}

extension ClusteringRow {
  /// Whether the head weighs all positions nearly alike: at least nine tenths of the greatest
  /// entropy.
  package var isUniform: Bool { (entropy.value ?? 0) >= 0.9 }
}
