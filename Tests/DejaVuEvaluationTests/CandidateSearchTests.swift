import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Testing

struct CandidateSearchTests {
  /// Layers of a few random candidates, the last of each without damage.
  private func layers(_ count: Int, seed: UInt64) -> [[RowCandidate]] {
    var state = seed
    func next() -> Double {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Double(state >> 11) * 0x1p-53
    }
    return (0..<count).map { _ in
      (0..<5).map { index in
        let exact = index == 4
        return RowCandidate(
          policy: exact ? .nonzero : .oracle(.threshold(Float(index))),
          byteShare: exact ? 0.6 : 0.6 * next(),
          weight: 0.5 + next(), divergence: exact ? 0 : 0.01 * next(), mass: 1,
          density: exact ? 1 : next(), recall: 1, precision: 1)
      }
    }
  }

  private func bytes(_ choice: [RowCandidate]) -> Double {
    choice.reduce(0) { $0 + $1.byteShare * $1.weight }
  }

  private func damage(_ choice: [RowCandidate]) -> Double {
    choice.reduce(0) { $0 + $1.divergence }
  }

  /// Every choice there is.
  private func choices(_ layers: [[RowCandidate]]) -> [[RowCandidate]] {
    layers.reduce([[]]) { chosen, candidates in
      chosen.flatMap { start in candidates.map { start + [$0] } }
    }
  }

  @Test(arguments: 1...20)
  func `no choice of at most the same damage reads fewer bytes`(seed: Int) {
    let layers = layers(4, seed: UInt64(seed))
    let all = choices(layers)
    for budget in [0.0001, 0.001, 0.003, 0.01, 0.04] {
      let found = CandidateSearch.choose(layers, budget: budget)
      #expect(found.count == 4)
      #expect(damage(found) <= budget)
      let best = all.filter { damage($0) <= damage(found) }.map(bytes).min()
      #expect(bytes(found) <= (best ?? 0) + 1e-9)
    }
  }

  @Test(arguments: 1...20)
  func `what is left of a budget buys less than one layer's bytes`(seed: Int) throws {
    let layers = layers(4, seed: UInt64(seed))
    let all = choices(layers)
    for budget in [0.0005, 0.003, 0.01] {
      let found = CandidateSearch.choose(layers, budget: budget)
      let best = try #require(all.filter { damage($0) <= budget }.map(bytes).min())
      #expect(bytes(found) - best <= 0.9)
    }
  }

  @Test func `a budget that nothing meets but the exact rows gives them`() {
    var layers = layers(3, seed: 5)
    for layer in layers.indices {
      for index in 0..<4 { layers[layer][index].divergence = 1e-9 }
    }
    for budget in [0, 1e-12] {
      let found = CandidateSearch.choose(layers, budget: budget)
      #expect(found.map(\.policy) == [.nonzero, .nonzero, .nonzero])
    }
  }

  @Test func `a budget for everything takes the fewest bytes`() {
    let layers = layers(5, seed: 6)
    let found = CandidateSearch.choose(layers, budget: 1)
    let fewest = layers.reduce(0) { $0 + ($1.map(\.cost).min() ?? 0) }
    #expect(abs(bytes(found) - fewest) < 0.01)
    #expect(CandidateSearch.choose([], budget: 1).isEmpty)
  }
}

extension CandidateSearchTests {
  /// Candidates as curves give them: fewer rows cost fewer bytes and more damage.
  private func curves(_ slots: Int, seed: UInt64) -> [[RowCandidate]] {
    layers(slots, seed: seed).map { slot in
      (1...20).map { step in
        let density = Double(step) / 20
        return RowCandidate(
          policy: .oracle(.threshold(Float(step))), byteShare: 0.1 + 0.6 * density,
          weight: slot[0].weight,
          divergence: slot[0].divergence * (1 / density - 1), mass: density, density: density,
          recall: 1, precision: 1)
      }
    }
  }

  @Test(arguments: 1...10)
  func `a density is met from below by the choice of least damage`(seed: Int) {
    let slots = curves(4, seed: UInt64(seed))
    var last = Double.infinity
    for density in [0.1, 0.3, 0.6, 0.9] {
      let found = CandidateSearch.choose(slots, density: density)
      let mean = CandidateSearch.meanDensity(found)
      #expect(mean <= density && mean > density - 0.06)
      #expect(damage(found) <= last)
      last = damage(found)
    }
  }

  @Test func `a density counts each row by its bytes`() {
    let candidates = [(0.2, 1.0), (0.8, 3.0)].map { density, weight in
      RowCandidate(
        policy: .all, byteShare: 1, weight: weight, divergence: 0, mass: 1, density: density,
        recall: 1, precision: 1)
    }
    #expect(abs(CandidateSearch.meanDensity(candidates) - 0.65) < 1e-12)
    #expect(CandidateSearch.meanDensity([]) == 0)
  }

  @Test(arguments: [0.3, 0.6, 0.9])
  func `a density is met although fewer rows would do no damage`(density: Double) {
    var slots = curves(4, seed: 3)
    for slot in slots.indices {
      for index in slots[slot].indices { slots[slot][index].divergence = 0 }
    }
    let mean = CandidateSearch.meanDensity(CandidateSearch.choose(slots, density: density))
    #expect(mean <= density && mean > density - 0.06)
  }

  @Test func `a density that nothing meets gives the fewest rows`() {
    let found = CandidateSearch.choose(curves(3, seed: 2), density: 0.01)
    #expect(found.map(\.density) == [0.05, 0.05, 0.05])
  }
}

struct ComparedRunTests {
  private func run(_ losses: [[Double]]) -> ComparedRun {
    var run = ComparedRun(mode: .sparse)
    run.losses = losses
    return run
  }

  @Test func `a difference is the mean over windows with its standard error`() {
    let sparse = run([[2, 3, 4], [1, 1, 1], [5, 5, 8]])
    let dense = run([[1, 3, 2], [1, 2, 0], [5, 4, 3]])
    // Windows differ by 1, 0 and 2: mean 1, deviation 1 (n − 1), error 1 / √3.
    let (mean, error) = sparse.difference(to: dense)
    #expect(abs(mean - 1) < 1e-12)
    #expect(abs(error - 1 / 3.0.squareRoot()) < 1e-12)
    #expect(abs(sparse.meanLoss - dense.meanLoss - mean) < 1e-12)
    let back = dense.difference(to: sparse)
    #expect(abs(back.mean + mean) < 1e-12 && abs(back.standardError - error) < 1e-12)
  }

  @Test func `one window has no standard error, and none no difference`() {
    #expect(run([[2, 4]]).difference(to: run([[1, 2]])) == (1.5, 0))
    #expect(run([]).difference(to: run([])) == (0, 0))
    #expect(run([[1]]).difference(to: run([[1]])) == (0, 0))
  }

  @Test func `rates and shares come from the same steps`() {
    var run = run([[1, 2], [3]])
    #expect(run.tokens == 3 && run.meanLoss == 2)
    #expect(run.tokensPerSecond == 0 && run.bytesPerToken == 0)
    run.milliseconds = [10, 20, 30]
    #expect(run.tokensPerSecond == 50 && run.medianMilliseconds == 20)
    run.tally.tokens = 4
    run.tally.mlpWeights = 400
    run.tally.chooser = 40
    run.tally.cache = 60
    (run.tally.neuronRows, run.tally.neuronRowsOfAll) = (3, 12)
    #expect(run.bytesPerToken == 125 && run.mlpBytesPerToken == 110)
    #expect(run.tally.neuronDensity == 0.25 && run.tally.headDensity == 0)
  }
}
