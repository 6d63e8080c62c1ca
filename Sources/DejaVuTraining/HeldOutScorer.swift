import DejaVuCPU
import DejaVuCore
import DejaVuModels

/// Measures predictors on held-out samples.
final class HeldOutScorer {
  private let store: SampleStore
  private let arithmetic: DenseArithmetic
  /// K98 by site, which no predictor changes.
  private var k98: [Int: Int] = [:]
  private static let parts = 16

  init(store: SampleStore, arithmetic: DenseArithmetic) {
    self.store = store
    self.arithmetic = arithmetic
  }

  /// What the predictor of a site achieves; `tokens` of the figures is left at 0.
  func figures(
    of model: LowRankModel, at index: Int, _ site: TrainingSite, positive: UInt8,
    trainer: any PredictorTrainer
  ) -> PredictorFigures {
    let k = k98[index] ?? fewestRows(index, site)
    k98[index] = k
    var total = ScoreSums()
    for start in stride(from: 0, to: store.tokens, by: TrainingShape.minibatch) {
      let count = min(TrainingShape.minibatch, store.tokens - start)
      widen(site.stream, start: start, count: count, trainer)
      trainer.forward(model, tokens: count)
      for part in sums(index, site, start: start, count: count, k, positive, trainer) {
        total.add(part)
      }
    }
    return total.figures(rows: site.rows * store.tokens, k98: k, tokens: store.tokens)
  }

  private func widen(
    _ stream: Int, start: Int, count: Int, _ trainer: any PredictorTrainer
  ) {
    nonisolated(unsafe) let (store, trainer) = (store, trainer)
    let loops = arithmetic.loops
    arithmetic.run(chunks: Self.parts) { part in
      for t in part * count / Self.parts..<(part + 1) * count / Self.parts {
        loops.widen(
          store.stream(stream, token: start + t), .float16, count: store.width,
          into: trainer.stream(t))
      }
    }
  }

  private func sums(
    _ index: Int, _ site: TrainingSite, start: Int, count: Int, _ k: Int, _ positive: UInt8,
    _ trainer: any PredictorTrainer
  ) -> [ScoreSums] {
    var parts = [ScoreSums](repeating: ScoreSums(), count: Self.parts)
    nonisolated(unsafe) let (store, trainer) = (store, trainer)
    parts.withUnsafeMutableBufferPointer { buffer in
      nonisolated(unsafe) let buffer = buffer
      arithmetic.run(chunks: Self.parts) { part in
        // Sums of its own: those of two threads must not lie in one cache line.
        var sums = ScoreSums()
        withUnsafeTemporaryAllocation(of: Float.self, capacity: site.rows) { work in
          for t in part * count / Self.parts..<(part + 1) * count / Self.parts {
            let scores = UnsafeBufferPointer(start: trainer.scores(t), count: site.rows)
            let codes = store.codes(index, token: start + t)
            sums.add(scores, codes: codes, k: k, positive: positive, work: work)
          }
        }
        buffer[part] = sums
      }
    }
    return parts
  }

  /// The least K such that the K largest contributions of each token carry 98 % of the mass.
  private func fewestRows(_ index: Int, _ site: TrainingSite) -> Int {
    let steps = massSteps(index, site)
    // Masses have five bits each between 2^-20 and 2^16: sums of them are exact in any order.
    var (height, curve) = (0.0, [Double](repeating: 0, count: site.rows))
    for rank in curve.indices {
      for part in 0..<Self.parts { height += steps[part * (site.rows + 1) + rank] }
      curve[rank] = height
    }
    let goal = 0.98 * curve.reduce(0, +)
    var sum = 0.0
    for (rank, mass) in curve.enumerated() {
      sum += mass
      if sum >= goal { return rank + 1 }
    }
    return site.rows
  }

  /// `[parts, rows + 1]`: by how much the mass of a rank, summed over tokens, exceeds that of the rank
  /// before it.
  private func massSteps(_ index: Int, _ site: TrainingSite) -> [Double] {
    let stride = site.rows + 1
    var steps = [Double](repeating: 0, count: Self.parts * stride)
    steps.withUnsafeMutableBufferPointer { buffer in
      nonisolated(unsafe) let (store, buffer) = (store, buffer)
      arithmetic.run(chunks: Self.parts) { part in
        for token in part * store.tokens / Self.parts..<(part + 1) * store.tokens / Self.parts {
          var counts = [Int](repeating: 0, count: 256)
          let codes = store.codes(index, token: token)
          for row in 0..<site.rows { counts[Int(codes[row])] += 1 }
          var place = part * stride
          for code in (1..<256).reversed() where counts[code] > 0 {
            let mass = Double(ContributionCode.mass[code])
            buffer[place] += mass
            place += counts[code]
            buffer[place] -= mass
          }
        }
      }
    }
    return steps
  }
}

/// Sums over tokens that the figures are made of.
struct ScoreSums {
  private var positives = 0
  private var chosen = 0
  private var hits = 0
  private var mass = 0.0
  private var chosenMass = 0.0
  /// Rows and their mass by score, in equal steps.
  private var scoredRows = [Int](repeating: 0, count: ScoreSums.buckets)
  private var scoredMass = [Double](repeating: 0, count: ScoreSums.buckets)
  private static let buckets = 2048
  private static let range: Float = 16

  /// Counts one token.
  mutating func add(
    _ scores: UnsafeBufferPointer<Float>, codes: UnsafePointer<UInt8>, k: Int, positive: UInt8,
    work: UnsafeMutableBufferPointer<Float>
  ) {
    let bound = Self.highest(k, of: scores, work)
    // Of equal scores the first rows are taken: a predictor that knows nothing chooses no more.
    var ties = k - scores.reduce(0) { $0 + ($1 > bound ? 1 : 0) }
    let (scale, masses) = (Float(Self.buckets) / (2 * Self.range), ContributionCode.mass)
    for row in scores.indices {
      let code = codes[row]
      let rowMass = Double(masses[Int(code)])
      let isPositive = code >= positive
      var isChosen = scores[row] > bound
      if scores[row] == bound, ties > 0 {
        isChosen = true
        ties -= 1
      }
      positives += isPositive ? 1 : 0
      chosen += isChosen ? 1 : 0
      hits += isPositive && isChosen ? 1 : 0
      mass += rowMass
      chosenMass += isChosen ? rowMass : 0
      let step = (min(max(scores[row], -Self.range), Self.range) + Self.range) * scale
      let bucket = min(Int(step), Self.buckets - 1)
      scoredRows[bucket] += 1
      scoredMass[bucket] += rowMass
    }
  }

  mutating func add(_ other: ScoreSums) {
    positives += other.positives
    chosen += other.chosen
    hits += other.hits
    mass += other.mass
    chosenMass += other.chosenMass
    for bucket in 0..<Self.buckets {
      scoredRows[bucket] += other.scoredRows[bucket]
      scoredMass[bucket] += other.scoredMass[bucket]
    }
  }

  func figures(rows: Int, k98: Int, tokens: Int) -> PredictorFigures {
    var figures = PredictorFigures()
    figures.positives = Double(positives) / Double(max(rows, 1))
    figures.k98 = k98
    figures.recall = Double(hits) / Double(max(positives, 1))
    figures.precision = Double(hits) / Double(max(chosen, 1))
    figures.coveredMass = mass > 0 ? chosenMass / mass : 0
    var (above, massAbove) = (0, 0.0)
    for bucket in (0..<Self.buckets).reversed() {
      above += scoredRows[bucket]
      massAbove += scoredMass[bucket]
      guard massAbove >= 0.98 * mass else { continue }
      figures.density98 = Double(above) / Double(max(rows, 1))
      figures.score98 = Double(
        Float(bucket) * 2 * Self.range / Float(Self.buckets) - Self.range)
      break
    }
    return figures
  }

  /// The k-th highest score, by quickselect.
  static func highest(
    _ k: Int, of scores: UnsafeBufferPointer<Float>, _ work: UnsafeMutableBufferPointer<Float>
  ) -> Float {
    guard k < scores.count else { return -.greatestFiniteMagnitude }
    for i in scores.indices { work[i] = scores[i] }
    var (low, high) = (0, scores.count - 1)
    while low < high {
      let pivot = work[low + (high - low) / 2]
      var (i, j) = (low, high)
      while i <= j {
        while work[i] > pivot { i += 1 }
        while work[j] < pivot { j -= 1 }
        if i <= j {
          work.swapAt(i, j)
          i += 1
          j -= 1
        }
      }
      if k - 1 <= j { high = j } else if k - 1 >= i { low = i } else { break }
    }
    return work[k - 1]
  }
}
