import DejaVuCPU
import DejaVuCore
import DejaVuReference
import DejaVuTestSupport
import Testing

/// The CPU's choice of rows against the reference's.
struct ChooserTests {
  /// One lane on the other side of a rounding boundary moves a score by a 127th of its own share.
  private static let single = Tolerance(
    5e-3, because: "a lane may be rounded to the next of 127 steps")
  private static let double = Tolerance(
    2e-2, because: "inner vectors are rounded to 127 steps once more")

  @Test(arguments: [2, 4, 8], [false, true])
  func `a choice is the reference's but for scores at the threshold`(
    bits: Int, isLowRank: Bool
  ) throws {
    let trial = ChoiceTrial(.opt, seed: UInt64(bits))
    let (weights, vectors) = trial.predictor(bits: bits, isLowRank: isLowRank, rows: 1100)
    let tolerance = isLowRank ? Self.double : Self.single
    for tokens in [1, 4] {
      for instructionSet in InstructionSet.available {
        let backend = try trial.backend(instructionSet, threads: 2)
        for rule in [ChoiceRule.threshold(0), .threshold(0.4), .highest(1), .highest(137)] {
          let answer = try trial.choose(weights, rule, tokens: tokens, on: backend)
          for t in 0..<tokens {
            let expected = trial.reference.chooserScores(weights, layer: 1, trial.x[t])
            try trial.expect(answer[t], tolerates: tolerance, expected, rule)
          }
        }
      }
    }
    withExtendedLifetime(vectors) {}
  }

  @Test(arguments: [TinyModel.opt, .optPostNorm, .llamaGrouped, .llamaReLU, .gpt2], [2, 4, 8])
  func `a shadow's choice is the reference's but for scores at the threshold`(
    tiny: TinyModel, bits: Int
  ) throws {
    let trial = ChoiceTrial(tiny, seed: 11)
    for instructionSet in InstructionSet.available {
      let backend = try trial.backend(instructionSet, threads: 2)
      let shadow = ShadowMaker(backend: backend).shadow(layer: 1, bits: bits)
      for rule in [ChoiceRule.threshold(0.1), .highest(40)] {
        for (t, found) in try trial.choose(shadow, rule, tokens: 3, on: backend).enumerated() {
          let expected = trial.reference.chooserScores(shadow, layer: 1, trial.x[t])
          try trial.expect(found, tolerates: Self.single, expected, rule)
        }
      }
    }
  }

  @Test(arguments: [TinyModel.opt, .optPostNorm, .llamaGrouped, .llamaReLU, .gpt2])
  func `eight bits of shadow score a neuron by its weights, bias and down row`(
    tiny: TinyModel
  ) throws {
    let trial = ChoiceTrial(tiny, seed: 12)
    let backend = try trial.backend(.best, threads: 2)
    let shadow = ShadowMaker(backend: backend).shadow(layer: 1, bits: 8)
    let answer = try trial.choose(shadow, .threshold(0), tokens: 2, on: backend)
    let weights = trial.model.layers[1]
    let row = weights.bundle.gate ?? weights.bundle.up
    let bias = weights.bundle.gate == nil ? weights.upBias : weights.gateBias
    for t in 0..<2 {
      let normed = try trial.mlpInput(token: t)
      let expected = (0..<row.rows).map { neuron -> Double in
        var (sum, squares) = (bias.map { Double($0.base[neuron]) } ?? 0, 0.0)
        for column in 0..<row.columns {
          sum += Double(row.element(neuron, column)) * Double(normed[column])
          let down = Double(weights.bundle.down.element(neuron, column))
          squares += down * down
        }
        return sum * squares.squareRoot()
      }
      let norm = expected.reduce(0) { max($0, abs($1)) }
      let rounding = Tolerance(2e-2, because: "weights and stream have 8 bits")
      for neuron in expected.indices {
        #expect(rounding.allows(answer[t].scores[neuron], expected[neuron], norm: norm))
      }
    }
  }

  @Test(arguments: [200, 1100], [false, true])
  func `a token's set depends neither on its company nor on threads`(
    rows: Int, isLowRank: Bool
  ) throws {
    let trial = ChoiceTrial(.llamaGrouped, seed: 13)
    let (weights, vectors) = trial.predictor(bits: 4, isLowRank: isLowRank, rows: rows)
    for rule in [ChoiceRule.threshold(0.1), .highest(33)] {
      for instructionSet in InstructionSet.available {
        var sets: Set<[[Int32]]> = []
        for threads in 1...3 {
          let backend = try trial.backend(instructionSet, threads: threads)
          sets.insert(try trial.choose(weights, rule, tokens: 5, on: backend).map(\.rows))
          sets.insert(
            try (0..<5).map { token in
              try trial.choose(weights, rule, from: token, tokens: 1, on: backend)[0].rows
            })
        }
        #expect(sets.count == 1)
      }
    }
    withExtendedLifetime(vectors) {}
  }

  @Test(arguments: [64, 1100])
  func `the highest rows are as many as asked for, but at ties`(rows: Int) throws {
    let trial = ChoiceTrial(.opt, seed: 14)
    let backend = try trial.backend(.best, threads: 2)
    let (predictor, vectors) = trial.predictor(bits: 8, isLowRank: false, rows: rows)
    var weights = predictor
    for count in [1, 2, 7, 63, 64, rows - 1, rows, rows + 5] {
      let answer = try trial.choose(weights, .highest(count), tokens: 3, on: backend)
      for token in answer { #expect(token.rows.count == min(count, rows)) }
    }
    // Scores 0, 0, 0, 1, 1, 1, 2, ...: three rows share each score.
    weights.first = .zeros(like: weights.first)
    let tied = OwnedVector((0..<rows).map { Float($0 / 3) })
    (weights.bias, weights.gain) = (tied.vector, nil)
    let last = Array(Int32((rows - 1) / 3 * 3)..<Int32(rows))
    for (count, expected) in [
      (last.count, last), (last.count + 1, last), (last.count + 2, last), (rows, nil),
    ] {
      let found = try trial.choose(weights, .highest(count), tokens: 1, on: backend)[0].rows
      #expect(found == expected ?? Array(0..<Int32(rows)))
    }
    withExtendedLifetime((vectors, tied)) {}
  }

  @Test func `zero and tiny streams leave bias times gain`() throws {
    let trial = ChoiceTrial(.optPostNorm, seed: 15)
    let backend = try trial.backend(.best, threads: 1)
    let shadow = ShadowMaker(backend: backend).shadow(layer: 1, bits: 4)
    for value: Float in [0, .leastNonzeroMagnitude, 1e-37] {
      trial.x = [Array(repeating: value, count: trial.model.architecture.hidden)]
      let answer = try trial.choose(shadow, .threshold(0), tokens: 1, on: backend)[0]
      let expected = trial.reference.chooserScores(shadow, layer: 1, trial.x[0])
      for (found, expected) in zip(answer.scores, expected) {
        #expect(abs(found - expected) <= 1e-6 * abs(expected))
      }
      #expect(answer.rows == ChoiceRule.threshold(0).rows(of: answer.scores))
    }
  }
}

extension GroupwiseMatrix {
  /// A matrix of the same shape whose weights are all zero.
  fileprivate static func zeros(like other: GroupwiseMatrix) -> GroupwiseMatrix {
    let storage = GroupwiseStorage(byteCount: other.byteCount)
    return GroupwiseMatrix(
      base: storage.base, bits: other.bits, rows: other.rows, columns: other.columns,
      owner: storage)
  }
}

/// What a backend chose for one token.
private struct Answer {
  let rows: [Int32]
  let scores: [Float]
}

/// Random streams in front of both backends.
private final class ChoiceTrial {
  let model: PackedModel
  let reference: ReferenceBackend
  var x: [[Float]]
  private var random: SeededRandom

  init(_ tiny: TinyModel, seed: UInt64) {
    model = tiny.model()
    reference = ReferenceBackend(model: model)
    random = SeededRandom(seed: seed)
    x = []
    for _ in 0..<5 { x.append(random.units(model.architecture.hidden)) }
  }

  func backend(_ instructionSet: InstructionSet, threads: Int) throws -> CPUBackend {
    try CPUBackend(
      model: model,
      options: CPUOptions(threads: threads, instructionSet: instructionSet, batchCapacity: 8))
  }

  /// Random weights, and what must live as long as they do.
  func predictor(bits: Int, isLowRank: Bool, rows: Int) -> (ChooserWeights, [OwnedVector]) {
    let columns = (model.architecture.hidden + 63) / 64 * 64
    let scale = 1 / Float(1 << bits)
    let bias = OwnedVector(random.units(rows).map { 0.3 * $0 })
    let gain = OwnedVector(random.units(rows).map { 1 + 0.2 * $0 })
    let first = GroupwiseMatrix.random(
      rows: isLowRank ? 128 : rows, columns: columns, bits: bits, scale: 0.2 * scale, &random)
    let second = GroupwiseMatrix.random(
      rows: rows, columns: 128, bits: bits, scale: 0.2 * scale, &random)
    return (
      ChooserWeights(
        first: first, second: isLowRank ? second : nil, norm: .plain, bias: bias.vector,
        gain: gain.vector), [bias, gain]
    )
  }

  func choose(
    _ weights: ChooserWeights, _ rule: ChoiceRule, from first: Int = 0, tokens: Int,
    on backend: CPUBackend
  ) throws -> [Answer] {
    let batch = StepBatch<CPUCache>()
    let cache = try backend.makeCache(capacity: 16, window: 0)
    batch.append(Array(repeating: 1, count: tokens), cache: cache, wanted: .none)
    let buffer = backend.makeBuffer(width: model.architecture.hidden)
    for t in 0..<tokens { buffer.row(t).update(from: x[first + t], count: x[first + t].count) }
    let rows = backend.makeRows(universe: weights.rows)
    backend.begin(batch)
    backend.choose(weights, by: rule, layer: 1, reading: buffer, into: rows)
    return withExtendedLifetime(batch) {
      (0..<tokens).map { t in
        Answer(
          rows: backend.list(of: t, in: rows),
          scores: Array(backend.lastScores(token: t, rows: weights.rows)))
      }
    }
  }

  /// What the MLP of layer 1 reads, as the reference says.
  func mlpInput(token: Int) throws -> [Float] {
    if model.architecture.blockOrder == .postNorm { return x[token] }
    let batch = StepBatch<ReferenceCache>()
    batch.append([1], cache: try reference.makeCache(capacity: 4, window: 0), wanted: .none)
    let buffer = reference.makeBuffer(width: model.architecture.hidden)
    buffer[0] = x[token]
    reference.begin(batch)
    reference.normalize(buffer, by: .mlp(1), into: buffer)
    return buffer[0]
  }

  /// The set follows from its own scores, and they from the reference's.
  func expect(
    _ found: Answer, tolerates tolerance: Tolerance, _ scores: [Float], _ rule: ChoiceRule
  ) throws {
    #expect(found.rows == rule.rows(of: found.scores))
    let expected = rule.rows(of: scores)
    let norm = Double(scores.reduce(0) { max($0, abs($1)) })
    for (row, score) in scores.enumerated() {
      #expect(
        tolerance.allows(found.scores[row], Double(score), norm: norm),
        "row \(row) scores \(found.scores[row]), not \(score)")
    }
    let threshold: Float
    switch rule {
    case .threshold(let value): threshold = value
    case .highest(let count): threshold = scores.sorted(by: >)[count]
    }
    if case .highest(let count) = rule { #expect(found.rows.count == count) }
    for row in Set(found.rows).symmetricDifference(expected) {
      #expect(abs(Double(scores[Int(row)] - threshold)) <= 2 * tolerance.bound * norm)
    }
    #expect(!found.rows.isEmpty && found.rows.count < scores.count)
  }
}
