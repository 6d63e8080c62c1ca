import CDejaVuKernels
import DejaVuCore

/// Every working buffer of the CPU backend, declared once, with its shape.
final class CPUScratch {
  /// `[T, E]`, token embeddings before they are projected in, and streams projected out.
  let embedding: CPUBuffer
  /// `[T, (H + 2K) · h]`: queries, keys, values of a prompt batch.
  let projected: CPUBuffer
  /// `[T, H · h]`, what attention hands to the output rows.
  let context: CPUBuffer
  /// `[T, F]`, and gates beside it in gated MLPs.
  let activations: CPUBuffer
  let gates: CPUBuffer?
  /// Operand A of a matrix product, in panels.
  let packed: CPUBuffer
  /// Per thread, one panel of operand B.
  let panels: CPUBuffer
  /// `[slices, D]`, or `[slices, 2 · D]` where rows share scales: private accumulators of one block;
  /// their number depends on the model alone.
  let accumulators: CPUBuffer
  let rowsRead: UnsafeMutablePointer<dejavu_rows_read>
  /// `[K]`, groups that settle their debts together.
  let groupList: UnsafeMutablePointer<Int32>
  let mlpSlices: Int
  let attentionSlices: Int
  /// `[wanted, D]` streams at the positions whose logits are wanted.
  private(set) var wanted: CPUBuffer
  /// `[wanted, V]`.
  private(set) var logits: CPUBuffer
  /// Per group, a token's queries, context, owed keys and values, and scores.
  private(set) var groups: CPUBuffer
  /// Per thread, for prompt attention.
  private(set) var attention: CPUBuffer
  /// One vector, or one for each kept position, rounded for products with groupwise rows.
  private(set) var rounded: CPUBuffer
  /// Working space of choosers, made when the first one runs.
  private var choice: ChoiceScratch?
  /// A choice begun and not made: the MLP block that reads it makes it while it computes.
  var pending: PendingChoice?
  /// Working space of neurons in halves, made when the first ones run.
  private var nested: NestedRoom?
  /// Working space of ranked choices, made when the first one runs.
  private(set) lazy var ranking = RankingScratch(
    model.architecture, tokens: options.batchCapacity, sumWidth: Self.sumWidth(model))
  /// By layer, made when first asked for.
  var downNorms: [Int: CPUBuffer] = [:]
  private let options: CPUOptions
  private let model: PackedModel
  private let kernels: UnsafePointer<dejavu_kernels>

  init(model: PackedModel, options: CPUOptions, kernels: UnsafePointer<dejavu_kernels>) {
    let a = model.architecture
    let tokens = options.batchCapacity
    self.options = options
    self.model = model
    self.kernels = kernels
    embedding = CPUBuffer(capacity: tokens, width: a.embeddingWidth)
    projected = CPUBuffer(capacity: tokens, width: (a.heads + 2 * a.kvHeads) * a.headWidth)
    context = CPUBuffer(capacity: tokens, width: a.heads * a.headWidth)
    activations = CPUBuffer(capacity: tokens, width: a.neurons)
    gates = a.isGated ? CPUBuffer(capacity: tokens, width: a.neurons) : nil
    let widest = max(a.neurons, a.hidden, a.heads * a.headWidth, a.embeddingWidth)
    packed = CPUBuffer(
      capacity: 1,
      width: dejavu_packed_a_bytes(kernels, tokens, Padding.width(widest)) / 4)
    panels = CPUBuffer(capacity: options.threads, width: dejavu_gemm_scratch() / 4)
    mlpSlices = Self.slices(weights: a.neurons * a.hidden)
    attentionSlices = min(a.kvHeads, 16)
    accumulators = CPUBuffer(
      capacity: max(mlpSlices, attentionSlices), width: Self.sumWidth(model))
    rowsRead = .allocate(capacity: mlpSlices)
    rowsRead.initialize(repeating: dejavu_rows_read(), count: mlpSlices)
    groupList = .allocate(capacity: a.kvHeads)
    groupList.initialize(repeating: 0, count: a.kvHeads)
    wanted = CPUBuffer(capacity: 1, width: a.hidden)
    logits = CPUBuffer(capacity: 1, width: a.vocabulary)
    groups = CPUBuffer(capacity: 0, width: 0)
    attention = CPUBuffer(capacity: 0, width: 0)
    rounded = CPUBuffer(capacity: 1, width: dejavu_rounded_bytes(Padding.width(widest)) / 4)
  }

  deinit {
    rowsRead.deallocate()
    groupList.deallocate()
  }

  /// Floats of a sum of rows: codes of rows that share scales are summed beside the result.
  private static func sumWidth(_ model: PackedModel) -> Int {
    Padding.width(model.architecture.hidden) * (model.sharesScales ? 2 : 1)
  }

  /// About a million weights per slice, and two where that makes more than 16 slices.
  ///
  /// Enough slices that threads finish together, few enough that adding them up costs nothing and that
  /// a tenth of a slice's rows is worth more than the wait for the first of them. A fixed number, so
  /// that sums do not depend on threads.
  static func slices(weights: Int) -> Int {
    let millions = weights >> 20
    return millions <= 16 ? max(millions, 8) : min(max(millions / 2, 16), 64)
  }

  func reserve(logits count: Int) {
    guard count > logits.capacity else { return }
    logits = CPUBuffer(capacity: count, width: model.architecture.vocabulary)
    wanted = CPUBuffer(capacity: count, width: model.architecture.hidden)
  }

  func reserve(positions: Int, layout: CPUCacheLayout) {
    let a = model.architecture
    let group = dejavu_attention_scratch(
      layout.paddedHead, a.headsPerGroup, max(layout.window, 1), positions)
    if group > groups.stride { groups = CPUBuffer(capacity: a.kvHeads, width: group) }
    let kept = max(layout.window, 1) * dejavu_rounded_bytes(Padding.width(a.hidden)) / 4
    if kept > rounded.stride { rounded = CPUBuffer(capacity: 1, width: kept) }
    let thread = dejavu_prompt_attention_scratch(kernels, layout.paddedHead, positions)
    if thread > attention.stride {
      attention = CPUBuffer(capacity: options.threads, width: thread)
    }
  }

  func choice(for weights: ChooserWeights, tokens: Int) -> ChoiceScratch {
    let columns = weights.first.columns
    let hidden = weights.second?.columns ?? 0
    let rows = max(weights.rows, weights.first.rows)
    if let choice, choice.fits(columns: columns, hidden: hidden, rows: rows) { return choice }
    let made = ChoiceScratch(
      columns: max(columns, choice?.normed.stride ?? 0),
      hidden: max(hidden, choice?.hidden.stride ?? 0), rows: max(rows, choice?.rows ?? 0),
      tokens: options.batchCapacity)
    choice = made
    return made
  }

  func nestedRoom(columns: Int) -> NestedRoom {
    if let nested, nested.columns >= columns { return nested }
    let made = NestedRoom(columns: columns)
    nested = made
    return made
  }

  func choiceScores(token: Int) -> UnsafePointer<Float>? {
    choice.map { UnsafePointer($0.scratch.row(token)) }
  }
}

/// A choice of one token's rows whose scores are still to be computed from the rounded stream.
struct PendingChoice {
  var job: dejavu_choose_job
  let rows: CPURows
}

/// What the MLP of neurons in halves reads beside their rows.
final class NestedRoom {
  let columns: Int
  let job: UnsafeMutablePointer<dejavu_nested>
  /// `[columns]`, zeros behind the stream.
  let input: CPUBuffer
  let rounded: CPUBuffer

  init(columns: Int) {
    self.columns = columns
    input = CPUBuffer(capacity: 1, width: columns)
    job = .allocate(capacity: 1)
    job.initialize(to: dejavu_nested())
    rounded = CPUBuffer(capacity: 1, width: dejavu_rounded_bytes(columns) / 4)
  }

  deinit { job.deallocate() }
}

/// Working space of a choice for every token of a batch.
struct ChoiceScratch {
  /// `[T, D]` normalised streams, padded to whole groups.
  let normed: CPUBuffer
  /// `[T, r]` inner vectors of low-rank predictors.
  let hidden: CPUBuffer
  /// `[T, …]` scores and rounded vectors.
  let scratch: CPUBuffer
  let rows: Int

  init(columns: Int, hidden: Int, rows: Int, tokens: Int) {
    let wide = (columns + 63) / 64 * 64
    normed = CPUBuffer(capacity: tokens, width: wide)
    self.hidden = CPUBuffer(capacity: tokens, width: hidden)
    self.rows = rows
    scratch = CPUBuffer(
      capacity: tokens, width: dejavu_choose_scratch(rows, max(wide, hidden)))
  }

  func fits(columns: Int, hidden: Int, rows: Int) -> Bool {
    columns <= normed.stride && hidden <= self.hidden.stride && rows <= self.rows
  }
}
