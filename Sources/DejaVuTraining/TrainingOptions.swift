package import DejaVuCore
package import DejaVuModels

/// What makes a row positive.
package enum Criterion: String, Hashable, Sendable, CaseIterable {
  /// The norm of what the row adds to the stream is at least the layer's threshold: for a neuron
  /// activation times the norm of its down row, for a head its projected context.
  case contribution
  /// The paper's plain criteria: a neuron's activation is above zero; a head's context vector is
  /// among the longer half of its token's.
  case activation
}

/// What is trained, on how much, and within what.
package struct TrainingOptions: Hashable, Sendable {
  package var axes: [RowAxis] = [.neurons, .heads]
  /// Where neurons' and heads' predictors look.
  package var placement = Placement.afterAttention
  package var headPlacement = Placement.same
  /// Share of a layer's bytes on the same axis that its predictor may take.
  package var budget = 0.08
  /// Instead of the budget: one rank for all neurons' predictors, a multiple of 64.
  package var rank: Int?
  /// Bits of a stored weight, 8 or 4: at equal bytes twice the rank is worth more than exactness.
  package var bits = 4
  package var criterion = Criterion.contribution
  /// Share of the mass that positive rows carry.
  package var mass = 0.98
  /// Wall-clock time for everything; nil sets no limit.
  package var timeBudget: Duration? = .seconds(30 * 60)
  /// Tokens to read, so that results do not depend on the clock; nil takes what the time allows.
  package var tokens: Int?
  package var seed: UInt64 = 1
  /// How often each token is trained on, on average.
  package var passes = 3
  package var learningRate: Float = 0.02
  /// Whether products round their operands to bfloat16 where the processor multiplies them so: twice
  /// the tokens in the same time.
  package var roundsToBFloat16 = true
  /// Positive rows weigh by this power of their contribution; 0 weighs them alike, as the paper.
  package var massPower: Float = 0
  /// Bytes for samples in memory.
  package var sampleBytes = 2_000_000_000
  /// Bytes of weights and moments that are trained at once.
  ///
  /// The state on disk has as many, and twice as many while a new one replaces it.
  package var weightBytes = 800_000_000

  package init() {}

  /// Takes the memory that a machine with a card has: fewer layers in turn, so the text is read less
  /// often.
  package mutating func useCardMemory() { (sampleBytes, weightBytes) = (16 << 30, 8 << 30) }

  /// Where a layer's predictor looks.
  package func placement(_ axis: RowAxis, layer: Int) -> Placement {
    axis.placement(axis == .heads ? headPlacement : placement, at: layer)
  }
}

/// Sizes of the training loop that nobody needs to choose.
enum TrainingShape {
  /// Tokens of a window at most, its first token included.
  static let window = 1024
  /// Tokens that the thresholds are taken from, and that predictors are scored on.
  static let thresholdTokens = 4096
  static let heldOutTokens = 4096
  /// Windows held in memory at most, and how many of them each round replaces.
  static let slots = 16
  static let minibatch = 512
  /// Share of documents that are held out.
  static let heldOutShare = 0.05
  static let warmUpSteps = 50
  /// Rounds whose time decides how many there will be.
  static let timedRounds = 2
  /// Scorings without a better predictor that end a group.
  static let patience = 6
  /// Rounds from one scoring of the predictors to the next.
  static let scoringRounds = 12
}

/// Why training cannot start or go on.
package enum TrainingError: Error, Hashable, Sendable {
  /// Predictors are scored on documents that they were not trained on.
  case tooFewDocuments(found: Int)
  /// There are not enough tokens on one side of the split.
  case tooLittleText(tokens: Int, needed: Int)
  /// A stored state belongs to another run.
  case foreignState(path: String)
  /// A stored state cannot be read.
  case damagedState(path: String, reason: String)
  /// The model's streams or activations are no numbers.
  case notFinite(layer: Int)
  /// Not even one layer fits.
  case tooLarge(what: String, bytes: Int, limit: Int)
}

extension TrainingError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .tooFewDocuments(let found):
      "the text has \(found) document and training needs 2, one to be scored on; separate "
        + "documents by lines that hold only <|endoftext|>"
    case .tooLittleText(let tokens, let needed):
      "one side of the text has \(tokens) tokens and training needs \(needed); give it more text"
    case .foreignState(let path):
      "'\(path)' is the state of a training with other settings, text or model; finish it with its "
        + "own settings, or drop it with --fresh"
    case .damagedState(let path, let reason):
      "'\(path)' cannot be continued: \(reason); start again with --fresh"
    case .notFinite(let layer):
      "layer \(layer) computes values that are not finite; the model's weights are broken"
    case .tooLarge(let what, let bytes, let limit):
      "\(what) of one layer needs \(bytes) bytes and \(limit) are allowed; choose a smaller --rank"
    }
  }
}
