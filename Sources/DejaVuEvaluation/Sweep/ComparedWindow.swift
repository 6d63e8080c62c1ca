import DejaVuCore
import DejaVuModels

/// What one run and the dense one made of one window: sums, so that windows can be kept and added up.
struct ComparedWindow: Hashable, Sendable {
  /// In the order in which a journal keeps them.
  static var fields: [WritableKeyPath<ComparedWindow, Double>] {
    [
      \.tokens, \.loss, \.denseLoss, \.divergence, \.agreements, \.milliseconds,
      \.denseMilliseconds,
      \.bytes, \.mlpBytes, \.denseMLPBytes, \.weightBytes, \.denseWeightBytes, \.neuronRows,
      \.neuronRowsOfAll, \.headRows, \.headRowsOfAll,
    ]
  }

  var tokens = 0.0
  /// Σ −ln p, nats.
  var loss = 0.0
  var denseLoss = 0.0
  var divergence = 0.0
  var agreements = 0.0
  /// Medians of decode steps; 0 through the prompt path.
  var milliseconds = 0.0
  var denseMilliseconds = 0.0
  var bytes = 0.0
  var mlpBytes = 0.0
  var denseMLPBytes = 0.0
  var weightBytes = 0.0
  var denseWeightBytes = 0.0
  var neuronRows = 0.0
  var neuronRowsOfAll = 0.0
  var headRows = 0.0
  var headRowsOfAll = 0.0

  /// Of runs of one window.
  init(_ run: ComparedRun, against dense: ComparedRun) {
    tokens = Double(run.tokens)
    loss = run.losses.joined().reduce(0, +)
    denseLoss = dense.losses.joined().reduce(0, +)
    divergence = run.divergences
    agreements = Double(run.agreements)
    milliseconds = run.medianMilliseconds
    denseMilliseconds = dense.medianMilliseconds
    bytes = Double(run.tally.bytes)
    mlpBytes = Double(run.tally.mlpWeights + run.tally.chooser)
    denseMLPBytes = Double(dense.tally.mlpWeights + dense.tally.chooser)
    weightBytes = Double(run.tally.weightBytes)
    denseWeightBytes = Double(dense.tally.weightBytes)
    neuronRows = Double(run.tally.neuronRows)
    neuronRowsOfAll = Double(run.tally.neuronRowsOfAll)
    headRows = Double(run.tally.headRows)
    headRowsOfAll = Double(run.tally.headRowsOfAll)
  }

  /// What ``values`` was; nil of other numbers.
  init?(values: [Double]) {
    guard values.count == Self.fields.count, values.allSatisfy(\.isFinite), values[0] >= 1 else {
      return nil
    }
    for (field, value) in zip(Self.fields, values) { self[keyPath: field] = value }
  }

  var values: [Double] { Self.fields.map { self[keyPath: $0] } }
}

extension Tally {
  /// Bytes of weights and choosers.
  fileprivate var weightBytes: Int { attentionWeights + mlpWeights + headWeights + chooser }
}

/// Figures of one run over windows, beside a dense run of the same.
package struct SweepQuality: Codable, Hashable, Sendable {
  package var windows: Int
  package var tokens: Int
  package var perplexity: Figure
  package var perplexityIncrease: Figure
  /// Of the increase, from how windows' paired differences differ; null of a single window.
  package var standardError: Figure
  /// Nats per token.
  package var divergence: Figure
  package var sameChoice: Figure
  package var neuronDensity: Figure
  package var headDensity: Figure
  /// Through decode only.
  package var tokensPerSecond: Figure
  package var speedupOverDense: Figure
  package var bytesPerToken: Figure
  package var mlpByteShare: Figure
  package var byteShare: Figure

  init(_ windows: [ComparedWindow], path: ScoringPath) {
    func sum(_ field: KeyPath<ComparedWindow, Double>) -> Double {
      windows.reduce(0) { $0 + $1[keyPath: field] }
    }
    func share(
      _ part: KeyPath<ComparedWindow, Double>, of all: KeyPath<ComparedWindow, Double>
    ) -> Double { sum(part) / max(sum(all), 1e-300) }
    func decoded(_ value: @autoclosure () -> Double) -> Figure {
      Figure(path == .decode ? value() : nil)
    }
    self.windows = windows.count
    tokens = Int(sum(\.tokens))
    perplexity = Figure(exponential(share(\.loss, of: \.tokens)))
    let differences = windows.map { ($0.loss - $0.denseLoss) / $0.tokens }
    let mean = TaskMean(differences)
    let ratio = exponential(share(\.loss, of: \.tokens) - share(\.denseLoss, of: \.tokens))
    perplexityIncrease = Figure(small: ratio - 1)
    standardError = Figure(small: mean.standardError.map { ratio * $0 })
    divergence = Figure(small: max(share(\.divergence, of: \.tokens), 0))
    sameChoice = Figure(share(\.agreements, of: \.tokens))
    neuronDensity = Figure(share(\.neuronRows, of: \.neuronRowsOfAll))
    headDensity = Figure(share(\.headRows, of: \.headRowsOfAll))
    let step = Statistics.median(windows.map(\.milliseconds))
    tokensPerSecond = decoded(1000 / max(step, 1e-9))
    speedupOverDense = decoded(
      Statistics.median(windows.map(\.denseMilliseconds)) / max(step, 1e-9))
    bytesPerToken = decoded(share(\.bytes, of: \.tokens))
    mlpByteShare = decoded(share(\.mlpBytes, of: \.denseMLPBytes))
    byteShare = decoded(share(\.weightBytes, of: \.denseWeightBytes))
  }
}
