/// What a chooser's threshold buys in one layer: covered mass, rows and bytes.
///
/// Collected over tokens: the score and contribution of every active neuron, and the scores of all
/// neurons of a few tokens.
package struct MassCurve: Sendable {
  /// Score and share of its token's mass of each active neuron.
  private var active: [(score: Float, share: Float)] = []
  /// Mass of the active neurons up to and with each, once they are in order.
  private var covered: [Double] = []
  /// Scores of all neurons of sampled tokens.
  private var all: [Float] = []
  private var activeTokens = 0
  private var sampledTokens = 0
  package let neurons: Int

  package init(neurons: Int) { self.neurons = neurons }

  /// Adds one token.
  ///
  /// - Parameters:
  ///   - scores: `[F]` of the chooser.
  ///   - contributions: `[F]` |activation| · ‖down row‖.
  ///   - samplesAll: whether the scores of idle neurons are kept too.
  package mutating func add(
    scores: UnsafeBufferPointer<Float>, contributions: UnsafeBufferPointer<Float>,
    samplesAll: Bool
  ) {
    var total: Float = 0
    for value in contributions { total += value }
    if total > 0 {
      for (score, value) in zip(scores, contributions) where value > 0 {
        active.append((score, value / total))
      }
      activeTokens += 1
    }
    if samplesAll {
      all.append(contentsOf: scores)
      sampledTokens += 1
    }
  }

  /// Orders what was collected; needed before any question.
  package mutating func sort() {
    active.sort { $0.score > $1.score }
    all.sort(by: >)
    var sum = 0.0
    covered = active.map { entry in
      sum += Double(entry.share)
      return sum
    }
  }

  /// The threshold above which the given share of all mass lies.
  package func threshold(covering mass: Double) -> Float {
    let target = mass * Double(activeTokens)
    let index = Self.first(covered.count) { covered[$0] >= target }
    return (index < active.count ? active[index] : active.last)?.score.nextDown ?? 0
  }

  /// The threshold above which the given share of all rows lies.
  package func threshold(density: Double) -> Float {
    guard let highest = all.first else { return 0 }
    let count = min(Int((density * Double(all.count)).rounded()), all.count)
    return count > 0 ? all[count - 1].nextDown : highest
  }

  /// Share of all rows whose scores lie above a threshold.
  package func density(above threshold: Float) -> Double {
    let above = Self.first(all.count) { all[$0] <= threshold }
    return Double(above) / Double(max(all.count, 1))
  }

  /// Share of all rows that are active and whose scores lie above a threshold.
  package func activeDensity(above threshold: Float) -> Double {
    let above = Self.first(active.count) { active[$0].score <= threshold }
    return Double(above) / Double(max(activeTokens * neurons, 1))
  }

  /// Mass that scores above a threshold cover.
  package func mass(above threshold: Float) -> Double {
    let above = Self.first(active.count) { active[$0].score <= threshold }
    return above > 0 ? covered[above - 1] / Double(max(activeTokens, 1)) : 0
  }

  /// Share of active rows among those above the threshold.
  package func precision(above threshold: Float) -> Double {
    let chosen = density(above: threshold)
    return chosen > 0 ? activeDensity(above: threshold) / chosen : 0
  }

  /// Share of active rows that lie above the threshold.
  package func recall(above threshold: Float) -> Double {
    let everything = Double(active.count) / Double(max(activeTokens * neurons, 1))
    return everything > 0 ? activeDensity(above: threshold) / everything : 0
  }

  /// The first of `count` indices, ascending, from which on `isPast` holds; `count` if none does.
  private static func first(_ count: Int, where isPast: (Int) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if isPast(middle) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
