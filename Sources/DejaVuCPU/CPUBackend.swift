import CDejaVuKernels
public import DejaVuCore

/// How the CPU runs a model.
public struct CPUOptions: Hashable, Sendable {
  /// Threads that compute, the caller's included.
  public var threads: Int
  /// Kernels that run; a set that this machine lacks is refused when the backend is made.
  public var instructionSet: InstructionSet
  /// Type of stored keys and values; nil means float32 for float32 weights, else float16.
  public var cacheType: DType?
  /// Whether prompts are multiplied in bfloat16; nil means only where the weights are bfloat16
  /// and the machine has such products.
  public var multipliesPromptInBFloat16: Bool?
  /// What vectors are rounded to where a token meets groupwise rows; prompts are in float32.
  public var activationBits: ActivationBits
  /// Tokens of one prompt batch.
  public var batchCapacity: Int

  /// Options for a number of threads, 1 to 1024; the rest suits every machine.
  public init(
    threads: Int, instructionSet: InstructionSet = .best, cacheType: DType? = nil,
    multipliesPromptInBFloat16: Bool? = nil, activationBits: ActivationBits = .sixteen,
    batchCapacity: Int = 512
  ) {
    self.threads = threads
    self.instructionSet = instructionSet
    self.cacheType = cacheType
    self.multipliesPromptInBFloat16 = multipliesPromptInBFloat16
    self.activationBits = activationBits
    self.batchCapacity = batchCapacity
  }
}

/// Decodes on the processor: C kernels on a thread team, weights read in place.
package final class CPUBackend: Backend {
  package typealias Buffer = CPUBuffer
  package typealias Cache = CPUCache
  package typealias Rows = CPURows

  package let model: PackedModel
  package let options: CPUOptions
  package let cacheLayout: CPUCacheLayout
  package let multipliesInBFloat16: Bool
  package var tally = Tally()
  /// Shown what passes through prompts; nil in normal runs.
  package var observer: (any StepObserver)?
  /// Shown how prompts' attention weighs positions; nil in normal runs.
  package var attentionObserver: (any AttentionObserver)?

  /// Where the time and the bytes of steps go; nil, as it mostly is, costs a branch per verb.
  package var profile: StepProfile?

  package let team: ThreadTeam
  let kernels: UnsafePointer<dejavu_kernels>
  let scratch: CPUScratch
  let rotary: RotaryTable?
  /// `[H]`, with ALiBi.
  private let slopes: CPUBuffer?
  unowned(unsafe) var batch: StepBatch<CPUCache>
  private let noBatch = StepBatch<CPUCache>()

  package init(model: PackedModel, options: CPUOptions) throws(BackendError) {
    guard let kernels = options.instructionSet.table else {
      throw .unavailable(
        backend: "CPU", reason: "this machine has no \(options.instructionSet.rawValue)")
    }
    guard options.activationBits == .sixteen || model.isGroupwise else {
      throw .unavailable(
        backend: "CPU",
        reason: "vectors meet weights in \(model.format.name) unrounded; activations of "
          + "\(options.activationBits.rawValue) bits are for quantized models")
    }
    let architecture = model.architecture
    self.model = model
    self.options = options
    self.kernels = kernels
    team = try ThreadTeam(threads: options.threads)
    cacheLayout = CPUCacheLayout(
      layers: architecture.layers, groups: architecture.kvHeads,
      paddedHead: Padding.head(architecture.headWidth),
      dtype: options.cacheType ?? (model.format == .plain(.float32) ? .float32 : .float16),
      window: 0, inputWidth: architecture.hidden)
    multipliesInBFloat16 = try Self.promptArithmetic(model: model, options: options)
    scratch = CPUScratch(model: model, options: options, kernels: kernels)
    if case .rotary(let parameters) = architecture.positions {
      rotary = RotaryTable(parameters)
    } else {
      rotary = nil
    }
    slopes =
      architecture.positions == .alibi ? CPUBuffer(capacity: 1, width: architecture.heads) : nil
    slopes?.base.update(from: alibiSlopes(heads: architecture.heads), count: architecture.heads)
    batch = noBatch
  }

  private static func promptArithmetic(
    model: PackedModel, options: CPUOptions
  ) throws(BackendError) -> Bool {
    let has = options.instructionSet.multipliesBFloat16
    let groupwise = model.formats.compactMap(\.groupwise).first
    guard let wanted = options.multipliesPromptInBFloat16 else {
      return has && groupwise == nil && model.format == .plain(.bfloat16)
    }
    if wanted && !has {
      throw .unavailable(
        backend: "CPU", reason: "this machine has no bfloat16 products; leave the prompt in float32"
      )
    }
    if wanted, let groupwise {
      throw .unavailable(
        backend: "CPU",
        reason: "products with weights in \(groupwise.name) are in float32; leave the prompt so")
    }
    return wanted
  }

  /// The kernels' number for rows of this format and for how far vectors are rounded that meet them.
  func code(of format: WeightFormat) -> Int32 {
    let isNarrow = format.isGroupwise && options.activationBits == .eight
    return format.code | (isNarrow ? Int32(DEJAVU_NARROW) : 0)
  }

  package var architecture: Architecture { model.architecture }
  var slopesBase: UnsafePointer<Float>? { (slopes?.base).map { UnsafePointer($0) } }
  package var batchCapacity: Int { options.batchCapacity }

  /// Dense arithmetic on this backend's threads, for use between its steps or inside an observer.
  ///
  /// - Parameter roundsToBFloat16: whether products may round their operands.
  /// - Returns: arithmetic that lives as long as the backend.
  package func makeArithmetic(roundsToBFloat16: Bool = false) -> DenseArithmetic {
    DenseArithmetic(team: team, kernels: kernels, roundsToBFloat16: roundsToBFloat16)
  }

  package func makeBuffer(width: Int) -> CPUBuffer {
    CPUBuffer(capacity: batchCapacity, width: width)
  }

  package func makeCache(capacity: Int, window: Int) throws(BackendError) -> CPUCache {
    var layout = cacheLayout
    layout.window = window
    rotary?.reserve(positions: capacity)
    scratch.reserve(positions: capacity, layout: layout)
    return try CPUCache(layout: layout, capacity: capacity)
  }

  package func begin(_ batch: StepBatch<CPUCache>) {
    precondition(
      batch.tokens.count <= batchCapacity,
      "\(batch.tokens.count) tokens in a batch of \(batchCapacity)")
    for slice in batch.slices {
      let (needed, capacity) = (slice.position + slice.count, slice.cache.capacity)
      precondition(needed <= capacity, "\(needed) positions in a cache of \(capacity)")
      // A fork may be longer than any cache that was made here.
      rotary?.reserve(positions: capacity)
      scratch.reserve(positions: capacity, layout: slice.cache.layout)
    }
    self.batch = batch
    scratch.reserve(logits: batch.wanted.count)
    tally.tokens += batch.tokens.count
  }

  package func combine(_ contribution: CPUBuffer) {}

  /// Shows a prompt batch to the observer, if there is one.
  func show(_ buffer: CPUBuffer, at site: StepSite, layer: Int) {
    guard let observer, batch.tokens.count > 1 else { return }
    observer.observe(
      site, layer: layer, values: buffer.base, tokens: batch.tokens.count, stride: buffer.stride)
  }

  package func synchronize() throws(BackendError) {
    for slice in batch.slices { slice.cache.grow(by: slice.count) }
    for (index, at) in batch.wanted.enumerated() {
      let row = logits(index)
      if let base = row.baseAddress, dejavu_all_finite(base, row.count) == 0 {
        throw .nonFiniteLogits(position: position(of: at))
      }
    }
  }

  /// Position, in its own sequence, of the batch's token at `index`.
  func position(of index: Int) -> Int {
    for slice in batch.slices where index < slice.start + slice.count {
      return slice.position + index - slice.start
    }
    return 0
  }

  package func logits(_ index: Int) -> UnsafeBufferPointer<Float> {
    UnsafeBufferPointer(start: scratch.logits.row(index), count: architecture.vocabulary)
  }
}

/// Cosines and sines by position, grown as longer caches are made.
final class RotaryTable {
  let parameters: Rotary
  private(set) var cosines: CPUBuffer
  private(set) var sines: CPUBuffer
  private var positions = 0

  init(_ parameters: Rotary) {
    self.parameters = parameters
    cosines = CPUBuffer(capacity: 0, width: 0)
    sines = CPUBuffer(capacity: 0, width: 0)
  }

  /// Rows are tight: kernels step by `half` floats.
  var half: Int { parameters.width / 2 }

  func reserve(positions wanted: Int) {
    guard wanted > positions else { return }
    cosines = CPUBuffer(capacity: 1, width: wanted * half)
    sines = CPUBuffer(capacity: 1, width: wanted * half)
    let frequencies = parameters.frequencies
    var (cosine, sine) = ([Float](repeating: 0, count: half), [Float](repeating: 0, count: half))
    for position in 0..<wanted {
      parameters.turn(
        at: position, frequencies: frequencies, cosines: &cosine, sines: &sine)
      (cosines.base + position * half).update(from: cosine, count: half)
      (sines.base + position * half).update(from: sine, count: half)
    }
    positions = wanted
  }
}
