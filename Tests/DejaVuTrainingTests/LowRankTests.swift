import DejaVuCPU
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import DejaVuTraining
import Foundation
import Testing

struct LowRankTests {
  private let hidden = 40
  private let rows = 72

  private func arithmetic(_ threads: Int = 2) throws -> DenseArithmetic {
    DenseArithmetic(
      team: try ThreadTeam(threads: threads), kernels: try #require(InstructionSet.best.table))
  }

  private func site(_ rank: Int) -> TrainingSite {
    TrainingSite(
      site: PredictorSite(axis: .neurons, layer: 0, placement: .afterAttention), rank: rank,
      rows: rows, stream: 0)
  }

  /// Streams, and codes that a random low-rank teacher gives: its highest scores are positive.
  private func fill(
    _ trainer: LowRankTrainer, tokens: Int, teacher: [[Float]], _ random: inout SeededRandom
  ) {
    for t in 0..<tokens {
      let x = random.units(hidden)
      for i in 0..<hidden { trainer.x.row(t)[i] = x[i] }
      for row in 0..<rows {
        let score = zip(teacher[row], x).reduce(Float(0)) { $0 + $1.0 * $1.1 }
        trainer.codes[t * rows + row] = ContributionCode.code(exp(score - 1))
      }
    }
  }

  /// `[rows][hidden]` of rank 6.
  private func teacher(_ random: inout SeededRandom) -> [[Float]] {
    let inner = (0..<6).map { _ in random.units(hidden) }
    return (0..<rows).map { _ in
      let mix = random.units(6)
      return (0..<hidden).map { i in
        zip(mix, inner).reduce(Float(0)) { $0 + $1.0 * $1.1[i] } * 0.13
      }
    }
  }

  @Test(arguments: [Float(0), 1])
  func `the gradient is that of finite differences`(massPower: Float) throws {
    var random = SeededRandom(seed: 3)
    let tokens = LowRankTrainer.lossTokens
    let trainer = LowRankTrainer(
      arithmetic: try arithmetic(), sites: [site(64)], hidden: hidden, batch: tokens)
    let model = LowRankModel(rank: 64, hidden: hidden, rows: rows)
    for i in 0..<64 {
      for j in 0..<hidden { model.a[i * model.width + j] = 0.2 * random.unit() }
      for j in 0..<rows { model.b[i * model.paddedRows + j] = 0.2 * random.unit() }
    }
    for j in 0..<rows { model.bias[j] = 0.2 * random.unit() }
    let teacher = teacher(&random)
    fill(trainer, tokens: tokens, teacher: teacher, &random)
    let weights = RowWeights(positive: ContributionCode.threshold, massPower: massPower)
    func loss() -> Double {
      trainer.forward(model, tokens: tokens)
      return trainer.backward(model, tokens: tokens, weights: weights)
    }
    _ = loss()
    let gradient = (0..<model.count).map { Double(trainer.gradients[$0]) }
    let scale = gradient.map(abs).max() ?? 0
    let second = model.rank * model.width
    let places = [
      0, 5, model.width * 17 + hidden - 1, second, second + model.paddedRows * 9 + rows - 1,
      second + model.rank * model.paddedRows, model.count - (model.paddedRows - rows) - 1,
    ]
    for place in places {
      let value = model.values.base[place]
      let step: Float = 0.01
      model.values.base[place] = value + step
      let above = loss()
      model.values.base[place] = value - step
      let below = loss()
      model.values.base[place] = value
      let difference = (above - below) / Double(2 * step)
      // Float32 products: a thousandth of the largest component.
      #expect(abs(difference - gradient[place]) < 1e-3 * scale, "at \(place)")
    }
  }

  @Test func `a low-rank teacher is learned`() throws {
    var random = SeededRandom(seed: 4)
    let teacher = teacher(&random)
    let trainer = LowRankTrainer(
      arithmetic: try arithmetic(), sites: [site(64)], hidden: hidden, batch: 128)
    let model = LowRankModel(rank: 64, hidden: hidden, rows: rows)
    var start = SplitMix64(seed: 1)
    model.initialize(&start)
    let weights = RowWeights(positive: ContributionCode.threshold, massPower: 0)
    for step in 0..<400 {
      fill(trainer, tokens: 128, teacher: teacher, &random)
      _ = trainer.step(
        model, tokens: 128, weights: weights, learningRate: 0.01 * Float(400 - step) / 400)
    }
    let rounded = RoundedPredictor(model, bits: 8, try arithmetic())
    rounded.restore(model, bits: 8, try arithmetic())
    fill(trainer, tokens: 128, teacher: teacher, &random)
    trainer.forward(model, tokens: 128)
    var (hits, positives, chosen) = (0, 0, 0)
    for t in 0..<128 {
      for row in 0..<rows {
        let isPositive = trainer.codes[t * rows + row] >= ContributionCode.threshold
        let isChosen = trainer.logits.row(t)[row] > 0
        positives += isPositive ? 1 : 0
        chosen += isChosen ? 1 : 0
        hits += isPositive && isChosen ? 1 : 0
      }
    }
    #expect(Double(hits) / Double(positives) > 0.95)
    #expect(Double(hits) / Double(chosen) > 0.7)
  }

  @Test(arguments: [4, 8])
  func `a rounded predictor is the same from any number of threads, and stays when rounded again`(
    bits: Int
  ) throws {
    var random = SeededRandom(seed: 8)
    let model = LowRankModel(rank: 64, hidden: hidden, rows: 200)
    for i in 0..<model.count { model.values.base[i] = random.unit() }
    let rounded = RoundedPredictor(model, bits: bits, try arithmetic(3))
    let visitor = LowRankModel(
      rank: 64, hidden: hidden, rows: 200, visiting: CPUBuffer(capacity: 1, width: model.count))
    rounded.restore(visitor, bits: bits, try arithmetic(3))
    let other = LowRankModel(rank: 64, hidden: hidden, rows: 200)
    RoundedPredictor(model, bits: bits, try arithmetic(1))
      .restore(other, bits: bits, try arithmetic(1))
    let floats = (0..<model.count).map { visitor.values.base[$0] }
    #expect(floats == (0..<model.count).map { other.values.base[$0] })
    // Values lie within 1.74, so half a step of 8 bits is 0.007; 4 bits cut extremes off. What pads a row
    // is nothing.
    let bound: Float = bits == 8 ? 0.008 : 0.95
    for i in 0..<64 {
      let row = i * model.width
      #expect((0..<hidden).allSatisfy { abs(floats[row + $0] - model.a[row + $0]) <= bound })
      #expect((hidden..<model.width).allSatisfy { floats[row + $0] == 0 })
      let column = i * model.paddedRows
      #expect((0..<200).allSatisfy { abs(visitor.b[column + $0] - model.b[column + $0]) <= bound })
    }
    #expect((0..<200).allSatisfy { visitor.bias[$0] == model.bias[$0] })
  }

  @Test(arguments: [2, 4, 8])
  func `rounding is within half a step of a group`(bits: Int) {
    var random = SeededRandom(seed: 6)
    let row = random.units(128)
    var bytes = [UInt8](repeating: 0, count: 128 * bits / 8 + 4)
    var back = [Float](repeating: 0, count: 128)
    bytes.withUnsafeMutableBytes { bytes in
      back.withUnsafeMutableBufferPointer { back in
        row.withUnsafeBufferPointer { row in
          guard let out = bytes.baseAddress, let from = row.baseAddress,
            let to = back.baseAddress
          else { return }
          GroupwiseRows.quantize(from, columns: 128, bits: bits, into: out)
          GroupwiseRows.dequantize(out, columns: 128, bits: bits, into: to)
        }
      }
    }
    let greatest = row.map(abs).max() ?? 0
    let step = 2 * greatest / Float((1 << bits) - 1)
    // Scales may be shrunk for a smaller mean error, which cuts the extremes.
    let bound = bits == 8 ? 0.51 * step : step * (bits == 4 ? 4 : 1)
    for (value, rounded) in zip(row, back) { #expect(abs(value - rounded) <= bound) }
  }

  @Test func `codes keep order, and 128 is exactly one threshold`() {
    #expect(ContributionCode.code(1) == 128)
    #expect(ContributionCode.code(Float(1).nextDown) == 127)
    #expect(ContributionCode.code(0) == 0 && ContributionCode.code(.nan) == 0)
    #expect(ContributionCode.code(.leastNonzeroMagnitude) == 1)
    #expect(ContributionCode.code(.infinity) == 255)
    for code in 2..<254 {
      let mass = ContributionCode.mass[code]
      #expect(ContributionCode.code(mass) == UInt8(code))
      #expect(mass > ContributionCode.mass[code - 1])
    }
  }

  @Test func `a threshold leaves the share of the mass that was asked for`() throws {
    var random = SeededRandom(seed: 7)
    let values = random.units(20_000).map { exp(2 * $0) }
    var histogram = MassHistogram()
    values.withUnsafeBufferPointer { histogram.add($0) }
    let threshold = try #require(histogram.threshold(0.98))
    let above = values.filter { $0 >= threshold }.reduce(0, +)
    #expect(abs(above / values.reduce(0, +) - 0.98) < 2e-3)
    #expect(MassHistogram().threshold(0.98) == 1)
    [Float(1), .nan].withUnsafeBufferPointer { histogram.add($0) }
    #expect(histogram.threshold(0.98) == nil)
  }
}
