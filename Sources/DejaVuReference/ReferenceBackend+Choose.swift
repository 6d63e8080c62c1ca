package import DejaVuCore

extension ReferenceBackend {
  package func makeRows(universe: Int, isPrecise: Bool) -> ReferenceRows {
    ReferenceRows(universe: universe, tokens: batchCapacity)
  }

  package func list(of token: Int, in rows: ReferenceRows) -> [Int32] {
    rows.lists[token].map { Int32($0) }
  }

  package func assign(_ indices: [Int32], to rows: ReferenceRows) {
    let set = ActiveSet<Neurons>(indices, of: rows.universe)
    for t in batch.tokens.indices { rows.assign(set, to: t) }
  }

  package func assign(each lists: [[Int32]], to rows: ReferenceRows) {
    precondition(
      lists.count == batch.tokens.count, "\(lists.count) lists for \(batch.tokens.count) tokens")
    for (t, list) in lists.enumerated() {
      rows.assign(ActiveSet<Neurons>(list, of: rows.universe), to: t)
    }
  }

  /// Row r is chosen when (second · (first · norm(x)) + bias)[r] · gain[r] is above the threshold,
  /// with every 64 columns of a vector rounded to 8 bits before it is multiplied.
  package func choose(
    _ weights: ChooserWeights, by rule: ChoiceRule, layer: Int, reading x: ReferenceBuffer,
    into rows: ReferenceRows
  ) {
    precondition(
      weights.rows == rows.universe, "\(weights.rows) scores for \(rows.universe) rows")
    for t in batch.tokens.indices {
      let scores = chooserScores(weights, layer: layer, x[t])
      rows.assign(ActiveSet<Neurons>(rule.rows(of: scores), of: rows.universe), to: t)
    }
    tally.chooser += weights.byteCount
  }

  package func chooserScores(_ weights: ChooserWeights, layer: Int, _ x: [Float]) -> [Float] {
    var vector = chooserInput(weights.norm, layer: layer, x)
    var last = weights.first
    if let second = weights.second {
      vector = weights.first.times(rounded: vector)
      last = second
    }
    return last.times(rounded: vector).enumerated().map { row, y in
      (y + (weights.bias?.base[row] ?? 0)) * (weights.gain?.base[row] ?? 1)
    }
  }

  private func chooserInput(_ norm: ChooserWeights.Norm, layer: Int, _ x: [Float]) -> [Float] {
    switch norm {
    case .plain:
      let squares = x.reduce(0.0) { $0 + Double($1) * Double($1) }
      let scale = 1 / (squares / Double(x.count) + 1e-6).squareRoot()
      return x.map { Float(Double($0) * scale) }
    case .mlp where architecture.blockOrder == .postNorm: return x
    case .mlp: return normalized(x, by: model.layers[layer].mlpNorm)
    }
  }
}

extension GroupwiseMatrix {
  /// y[r] = w[r] · x̂, where x̂ is x rounded to 8 bits with a step for every group of columns; columns past x
  /// count as 0.
  func times(rounded x: [Float]) -> [Float] {
    let rounded = stride(from: 0, to: x.count, by: format.group).flatMap { start in
      Self.rounded(x[start..<min(start + format.group, x.count)])
    }
    return (0..<rows).map { row in
      var sum = 0.0
      for (column, value) in rounded.enumerated() where column < columns {
        sum += Double(element(row, column)) * value
      }
      return Float(sum)
    }
  }

  private static func rounded(_ group: ArraySlice<Float>) -> [Double] {
    let greatest = group.reduce(0) { max($0, abs($1)) }
    // The reciprocal of anything smaller is infinite.
    guard greatest > 1e-33 else { return group.map { _ in 0 } }
    let (inverse, step) = (127 / greatest, Double(greatest / 127))
    return group.map { Double(($0 * inverse).rounded(.toNearestOrEven)) * step }
  }
}
