/// A token's number in the vocabulary.
public typealias TokenID = Int32

/// The rows that one block computes for the tokens of a step.
package enum RowChoice<Rows> {
  /// Every row is read: the dense model.
  case all
  /// Every up row is read, and down rows whose activation is not zero: lossless for ReLU.
  case nonzero
  /// Every row is computed as far as it takes to measure it, and only those that meet the rule are
  /// added to the stream; the verb leaves in `chosen` which they were.
  case ranked(RowMeasure, ChoiceRule, chosen: Rows)
  /// What a selector chose, one set per token; down rows of zero activations are skipped.
  case listed(Rows)
}

/// What a verb ranks rows by that it has computed: knowledge that no chooser has beforehand.
package enum RowMeasure: String, Hashable, Sendable {
  /// The norm of what a row adds: |activation| · ‖down row‖ of a neuron, ‖Σ H_i(x) · W_O[i]‖ over
  /// the heads of a group. The oracle's.
  case contribution
  /// w · x + b of the row that decides whether a neuron fires (in gated MLPs the gate's): what a
  /// search for the nearest rows of W1 finds. Heads have none.
  case product
}

/// One sequence's share of a step.
package struct SequenceSlice<Cache> {
  package let cache: Cache
  /// Index of the slice's first token among the step's tokens.
  package let start: Int
  package let count: Int
  /// Position of the first token in its sequence.
  package let position: Int

  package init(cache: Cache, start: Int, count: Int, position: Int) {
    self.cache = cache
    self.start = start
    self.count = count
    self.position = position
  }
}

/// What a step works on: tokens of one or more sequences, and whose logits are wanted.
///
/// Kept and refilled from step to step, so that a decode step allocates nothing.
package final class StepBatch<Cache: SequenceCache> {
  package private(set) var tokens: [TokenID] = []
  package private(set) var slices: [SequenceSlice<Cache>] = []
  /// Indices among `tokens`, ascending, at which logits are wanted.
  package private(set) var wanted: [Int] = []
  /// By which the token behind the only wanted one is chosen, where the backend can; see
  /// ``Backend/chosenToken``.
  package var rule: TokenRule?

  package init() {}

  package func removeAll() {
    tokens.removeAll(keepingCapacity: true)
    slices.removeAll(keepingCapacity: true)
    wanted.removeAll(keepingCapacity: true)
    rule = nil
  }

  /// Adds the continuation of one sequence.
  ///
  /// - Parameters:
  ///   - tokens: what follows the tokens that `cache` already holds.
  ///   - cache: the sequence's; it grows when the step ends.
  ///   - wanted: which of `tokens` should have their logits computed.
  package func append(_ tokens: some Collection<TokenID>, cache: Cache, wanted: WantedLogits) {
    let start = self.tokens.count
    self.tokens.append(contentsOf: tokens)
    let count = self.tokens.count - start
    slices.append(
      SequenceSlice(cache: cache, start: start, count: count, position: cache.count))
    switch wanted {
    case .none: break
    case .last: if count > 0 { self.wanted.append(start + count - 1) }
    case .all: self.wanted.append(contentsOf: start..<(start + count))
    }
  }
}

/// Which tokens of a batch have their logits computed.
package enum WantedLogits: Sendable {
  case none, last, all
}

/// Keys, values and debts of one sequence, in every layer.
///
/// Invariant: for each layer, group and position below `count`, either key and value are stored,
/// or the layer's attention input at that position is kept.
package protocol SequenceCache: AnyObject {
  /// S, the positions held.
  var count: Int { get }
  /// The greatest `count` there is room for.
  var capacity: Int { get }
  /// Forgets every position from `count` on, debts included.
  func truncate(to count: Int)
  /// An independent copy that holds the same positions.
  func fork(capacity: Int) throws(BackendError) -> Self
}

/// A norm of the model.
package enum NormSite: Hashable, Sendable {
  case attention(Int), mlp(Int)
}

/// A bias that is added once, after the devices' contributions are summed.
package enum BiasSite: Hashable, Sendable {
  case attention(Int), mlp(Int)
}

/// What a device can do.
///
/// Verbs are whole blocks, so that a backend can fuse them.
///
/// Nothing here assumes host memory: buffers, caches and row sets are the backend's own. Verbs do
/// not throw; shapes that disagree are our own mistakes (`precondition`) and device failures are
/// sticky until ``synchronize()``. Every verb works on the batch given to ``begin(_:)``.
package protocol Backend: AnyObject {
  /// `[T, width]` floats.
  associatedtype Buffer
  associatedtype Cache: SequenceCache
  /// One ascending list of rows per token of the batch.
  associatedtype Rows

  /// That of the model whose weights this backend holds.
  var architecture: Architecture { get }
  /// The greatest number of tokens in one batch.
  var batchCapacity: Int { get }

  /// A buffer with room for `batchCapacity` tokens, not cleared.
  func makeBuffer(width: Int) -> Buffer
  /// A cache with room for `capacity` positions.
  ///
  /// - Parameters:
  ///   - capacity: the greatest number of positions that it will hold.
  ///   - window: positions whose inputs are kept for groups that were skipped; 0 computes keys and
  ///     values of every group at once.
  /// - Returns: an empty cache.
  /// - Throws: ``BackendError`` where there is no memory for it.
  func makeCache(capacity: Int, window: Int) throws(BackendError) -> Cache

  /// Room for one list of rows per token, out of `universe` rows.
  ///
  /// - Parameters:
  ///   - universe: rows there are.
  ///   - isPrecise: whether nearly every neuron of the lists turns out not to be zero, so that its
  ///     down row may be fetched before that is known. Changes no result.
  /// - Returns: empty lists.
  func makeRows(universe: Int, isPrecise: Bool) -> Rows
  /// Fills in the lists of rows of `weights` whose scores meet `rule`, for each token of the batch.
  ///
  /// - Parameters:
  ///   - weights: what scores the rows, as many as `rows` has room for.
  ///   - rule: which scores are chosen.
  ///   - layer: whose MLP norm a shadow reads through.
  ///   - x: the raw stream, before any norm.
  ///   - rows: one ascending list per token, replaced.
  func choose(
    _ weights: ChooserWeights, by rule: ChoiceRule, layer: Int, reading x: Buffer,
    into rows: Rows)
  /// The same rows for every token of the batch.
  func assign(_ indices: [Int32], to rows: Rows)
  /// A list of its own for each token of the batch.
  func assign(each lists: [[Int32]], to rows: Rows)
  /// The rows that were chosen for a token of the batch: for measuring.
  func list(of token: Int, in rows: Rows) -> [Int32]

  /// Starts a step: tokens, positions and caches of what follows.
  func begin(_ batch: StepBatch<Cache>)
  /// x[t] = embedding of token t, with position, projection and norm as the architecture says.
  func embed(into x: Buffer)
  /// out[t] = norm(x[t]); `out` may be `x`.
  func normalize(_ x: Buffer, by site: NormSite, into out: Buffer)
  /// out[t] = Σ_{i ∈ heads} H_i(x)[t] · W_O[i], without the output bias. Extends every cache.
  func attend(layer: Int, heads: RowChoice<Rows>, reading x: Buffer, into out: Buffer)
  /// out[t] = σ(x[t] · W1[S]ᵀ + b1[S]) · W2[S], without the down bias.
  func transform(layer: Int, neurons: RowChoice<Rows>, reading x: Buffer, into out: Buffer)
  /// Sums a contribution over devices; nothing on one.
  func combine(_ contribution: Buffer)
  /// x[t] += contribution[t] + bias.
  func add(_ contribution: Buffer, bias: BiasSite, into x: Buffer)
  /// Final norm and head at the wanted positions; read them with ``logits(_:)``.
  func project(_ x: Buffer)
  /// Ends the step: caches have grown, and results may be read.
  func synchronize() throws(BackendError)

  /// The token that the last step chose by its batch's rule; nil where the host chooses, from the logits.
  ///
  /// Where there is one the logits are not brought to the host.
  var chosenToken: TokenID? { get }
  /// The logits of the i-th wanted position, `[V]`, valid until the next step.
  func logits(_ index: Int) -> UnsafeBufferPointer<Float>
  /// What steps have read since the last reset.
  var tally: Tally { get set }
}

extension Backend {
  /// The host chooses every token.
  package var chosenToken: TokenID? { nil }

  /// Room for lists whose precision nobody knows.
  package func makeRows(universe: Int) -> Rows { makeRows(universe: universe, isPrecise: false) }
}

/// Bytes asked for by the steps since the last reset, by what they were.
package struct Tally: Hashable, Sendable {
  /// Tokens of all steps, of prompts and of text.
  package var tokens = 0
  package var attentionWeights = 0
  package var mlpWeights = 0
  package var headWeights = 0
  package var embedding = 0
  package var cache = 0
  package var chooser = 0
  package var keptInputs = 0
  /// Multiplications and additions of rows really computed, two for every weight and token; norms,
  /// biases, activations and softmax do not count.
  package var weightFlops = 0
  /// The same of keys and values in caches: two each for every lane of a head and position seen.
  package var cacheFlops = 0
  /// Rows computed and rows there are, over layers and tokens.
  package var headRows = 0
  package var headRowsOfAll = 0
  package var neuronRows = 0
  package var neuronRowsOfAll = 0

  package init() {}

  /// All bytes; rows do not count, they say what share was read.
  package var bytes: Int {
    attentionWeights + mlpWeights + headWeights + embedding + cache + chooser + keptInputs
  }

  package var flops: Int { weightFlops + cacheFlops }
}
