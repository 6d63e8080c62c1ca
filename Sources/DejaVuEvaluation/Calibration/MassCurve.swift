/// What a chooser's threshold buys in one layer: covered mass, rows and bytes.
///
/// Collected over tokens: the score and contribution of every active neuron, and the scores of all
/// neurons of a few tokens.
package struct MassCurve: Sendable {
  /// Score and share of its token's mass of each active neuron.
  private var active: [(score: Float, share: Float)] = []
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
  }

  /// The threshold above which the given share of all mass lies.
  package func threshold(covering mass: Double) -> Float {
    var sum = 0.0
    let target = mass * Double(activeTokens)
    for entry in active {
      sum += Double(entry.share)
      if sum >= target { return entry.score.nextDown }
    }
    return active.last.map { $0.score.nextDown } ?? 0
  }

  /// Share of all rows whose scores lie above a threshold.
  package func density(above threshold: Float) -> Double {
    Double(Self.count(all, above: threshold)) / Double(max(all.count, 1))
  }

  /// Share of all rows that are active and whose scores lie above a threshold.
  package func activeDensity(above threshold: Float) -> Double {
    var (low, high) = (0, active.count)
    while low < high {
      let middle = (low + high) / 2
      if active[middle].score > threshold { low = middle + 1 } else { high = middle }
    }
    return Double(low) / Double(max(activeTokens * neurons, 1))
  }

  /// Mass that scores above a threshold cover.
  package func mass(above threshold: Float) -> Double {
    var sum = 0.0
    for entry in active {
      guard entry.score > threshold else { break }
      sum += Double(entry.share)
    }
    return sum / Double(max(activeTokens, 1))
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

  private static func count(_ sorted: [Float], above threshold: Float) -> Int {
    var (low, high) = (0, sorted.count)
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle] > threshold { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
