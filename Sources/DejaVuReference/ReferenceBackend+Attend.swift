package import DejaVuCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

extension ReferenceBackend {
  /// out[t] = Σ_{g ∈ groups} Σ_{i ∈ g} H_i(x)[t] · W_O[i].
  ///
  /// H_i(x)[t] = Σ_p softmax_p(q_i · k_p / √h + slope_i · p) · v_p over the positions p that t sees.
  /// Keys and values are computed for every group, chosen or not.
  package func attend(
    layer: Int, heads: RowChoice<ReferenceRows>, reading x: ReferenceBuffer,
    into out: ReferenceBuffer
  ) {
    for slice in batch.slices {
      for t in slice.start..<slice.start + slice.count {
        let position = slice.position + t - slice.start
        remember(layer: layer, cache: slice.cache, position: position, x: x[t])
        let add = { [self] (groups: [Int], sum: inout [Double]) in
          for head in 0..<architecture.heads
          where groups.contains(head / architecture.headsPerGroup) {
            let context = context(
              layer: layer, head: head, cache: slice.cache, position: position, x: x[t])
            accumulate(context, of: head, layer: layer, into: &sum)
          }
        }
        rank(heads, token: t, add)
        let groups = heads.rows(of: t, universe: architecture.kvHeads)
        var sum = [Double](repeating: 0, count: architecture.hidden)
        add(groups, &sum)
        out[t] = sum.map { Float($0) }
        tally.headRows += groups.count
      }
    }
    tally.headRowsOfAll += batch.tokens.count * architecture.kvHeads
  }

  /// Fills in a ranked choice by ‖Σ_{i ∈ g} H_i(x) · W_O[i]‖, each group's contribution alone.
  private func rank(
    _ heads: RowChoice<ReferenceRows>, token: Int, _ add: ([Int], inout [Double]) -> Void
  ) {
    guard case .ranked(let measure, let rule, let chosen) = heads else { return }
    precondition(measure == .contribution, "heads have no \(measure) to be ranked by")
    let sizes = (0..<architecture.kvHeads).map { group in
      var alone = [Double](repeating: 0, count: architecture.hidden)
      add([group], &alone)
      return Float(alone.reduce(0) { $0 + $1 * $1 }.squareRoot())
    }
    chosen.assign(ActiveSet<Heads>(rule.rows(of: sizes), of: chosen.universe), to: token)
  }

  /// k = rotated(W_K[g] · x + b_K[g]) and v = W_V[g] · x + b_V[g], for every group g.
  private func remember(layer: Int, cache: ReferenceCache, position: Int, x: [Float]) {
    let weights = model.layers[layer]
    for group in 0..<architecture.kvHeads {
      let key = head(group, of: weights.key, weights.keyBias, x)
      let value = head(group, of: weights.value, weights.valueBias, x)
      cache.remember(
        layer: layer, group: group, position: position, key: rotated(key, at: position),
        value: value)
    }
  }

  /// H_i(x): what one head has gathered from the positions that it sees.
  private func context(
    layer: Int, head i: Int, cache: ReferenceCache, position: Int, x: [Float]
  ) -> [Float] {
    let weights = model.layers[layer]
    let group = i / architecture.headsPerGroup
    let query = rotated(head(i, of: weights.query, weights.queryBias, x), at: position)
    let first = architecture.slidingWindow.map { max(0, position + 1 - $0) } ?? 0
    let (keys, values) = (cache.keys[layer][group], cache.values[layer][group])
    let scores = (first...position).map { p in
      dot(query, keys[p]) / Double(architecture.headWidth).squareRoot()
        + slope(of: i) * Double(p - position)
    }
    let weightsOfPositions = softmax(scores)
    return (0..<architecture.headWidth).map { lane in
      let sum = zip(first...position, weightsOfPositions).reduce(0.0) { sum, next in
        sum + next.1 * Double(values[next.0][lane])
      }
      return Float(sum)
    }
  }

  /// sum += Σ_lane context[lane] · W_O[i · h + lane].
  private func accumulate(_ context: [Float], of head: Int, layer: Int, into sum: inout [Double]) {
    let output = model.layers[layer].output
    for (lane, value) in context.enumerated() {
      output.accumulate(
        row: head * architecture.headWidth + lane, times: Double(value), into: &sum)
    }
  }

  /// Rows i · h ..< (i + 1) · h of a projection.
  private func head(_ i: Int, of matrix: RowMatrix, _ bias: FloatVector?, _ x: [Float]) -> [Float] {
    let rows = i * architecture.headWidth..<(i + 1) * architecture.headWidth
    return rows.map { row in
      Float(matrix.dot(row: row, x) + (bias.map { Double($0.base[row]) } ?? 0))
    }
  }

  /// Lanes i and i + width/2 turned by position · frequency(i); other lanes pass.
  private func rotated(_ head: [Float], at position: Int) -> [Float] {
    guard case .rotary(let rotary) = architecture.positions else { return head }
    var turned = head
    let half = rotary.width / 2
    for (i, frequency) in rotary.frequencies.enumerated() {
      let angle = Double(position) * frequency
      let (a, b) = (Double(head[i]), Double(head[i + half]))
      turned[i] = Float(a * cos(angle) - b * sin(angle))
      turned[i + half] = Float(b * cos(angle) + a * sin(angle))
    }
    return turned
  }

  /// How fast the head's attention falls with distance; 0 without ALiBi.
  private func slope(of head: Int) -> Double {
    guard architecture.positions == .alibi else { return 0 }
    return Double(alibiSlopes(heads: architecture.heads)[head])
  }

  private func softmax(_ scores: [Double]) -> [Double] {
    let greatest = scores.max() ?? 0
    let powers = scores.map { exp($0 - greatest) }
    let sum = powers.reduce(0, +)
    return powers.map { $0 / sum }
  }
}
