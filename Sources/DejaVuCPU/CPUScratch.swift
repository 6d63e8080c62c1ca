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
  /// `[slices, D]`: private accumulators of one block; their number depends on the model alone.
  let accumulators: CPUBuffer
  let rowsRead: UnsafeMutablePointer<Int>
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
    accumulators = CPUBuffer(capacity: max(mlpSlices, attentionSlices), width: a.hidden)
    rowsRead = .allocate(capacity: mlpSlices)
    rowsRead.initialize(repeating: 0, count: mlpSlices)
    groupList = .allocate(capacity: a.kvHeads)
    groupList.initialize(repeating: 0, count: a.kvHeads)
    wanted = CPUBuffer(capacity: 1, width: a.hidden)
    logits = CPUBuffer(capacity: 1, width: a.vocabulary)
    groups = CPUBuffer(capacity: 0, width: 0)
    attention = CPUBuffer(capacity: 0, width: 0)
  }

  deinit {
    rowsRead.deallocate()
    groupList.deallocate()
  }

  /// About a million weights per slice.
  ///
  /// Enough slices that threads finish together, few enough that adding them up costs nothing. A
  /// fixed number, so that sums do not depend on threads.
  private static func slices(weights: Int) -> Int { min(max(weights >> 20, 8), 64) }

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
    let thread = dejavu_prompt_attention_scratch(kernels, layout.paddedHead, positions)
    if thread > attention.stride {
      attention = CPUBuffer(capacity: options.threads, width: thread)
    }
  }
}
