import CDejaVuCUDA
public import DejaVuCore

/// How a card runs a model.
public struct CUDAOptions: Hashable, Sendable {
  /// Type of stored keys and values; nil means float32 for float32 weights, else float16.
  public var cacheType: DType?
  /// Tokens of one prompt batch.
  public var batchCapacity: Int
  /// Bytes of weights in codes that are decoded at once for a prompt's products.
  package var decodedBytes = 64 << 20
  /// Columns of a block that adds a stream up and prepares it; 0: sums and vectors have launches of
  /// their own.
  package var renewedColumns = 128
  /// Whether products of prompts and of training are NVIDIA's where they were found.
  package var multipliesByLibrary = true

  /// Options that suit every card.
  public init(cacheType: DType? = nil, batchCapacity: Int = 1024) {
    self.cacheType = cacheType
    self.batchCapacity = batchCapacity
  }
}

/// Decodes on a card: verbs append launches, and ``synchronize()`` runs the step.
///
/// A decode step that comes again with the same launches is recorded as a graph and replayed:
/// tokens, positions, counts and lists lie in the card's memory, and no launch depends on them.
package final class CUDABackend: Backend {
  package typealias Buffer = CUDABuffer
  package typealias Cache = CUDACache
  package typealias Rows = CUDARows

  package let device: CUDADevice
  package let options: CUDAOptions
  package var tally = Tally()
  /// The weights at their places on the card.
  let model: PackedModel
  let weights: DeviceModel
  let module: KernelModule
  let geometry: LaunchGeometry
  let scratch: CUDAScratch
  let cacheLayout: CUDACacheLayout
  /// NVIDIA's products of prompts and training; nil where own kernels multiply, the library not found.
  let products: MatrixProducts?
  let launches = LaunchList()
  var batch = StepBatch<CUDACache>()
  /// What the step's blocks did, for the tally.
  var notes: [BlockNote] = []
  /// The buffer whose norm was not computed yet.
  var pendingNorm: CUDABuffer?
  /// Steps since the backend was made, and launches of all of them.
  private(set) var stepNumber = 0
  private(set) var launchNumber = 0
  /// Choices whose vectors the next launch of another kind rounds first, all at once.
  var pendingChoices: [PendingChoice] = []
  /// The batch whose vectors lie rounded in the working space.
  var roundedBatch: (owner: CUDABuffer, operand: Operand)?
  /// Whether the biases of up rows lie rounded on the card.
  var hasRoundedBiases = false
  /// Choices that have begun.
  var riding: [Riding] = []
  /// A sum that waits for what reads its stream.
  var pendingSum: PendingSum?
  /// Columns of a block of the launch that takes both; 0 where they have launches of their own.
  let renewedColumns: Int
  /// Such launches of this step.
  var renewals = 0
  /// The buffer whose tiles were summed last.
  var tilesOwner: CUDABuffer?
  /// Choosers that were copied to the card.
  var choosers: [DeviceChooser.Key: DeviceChooser] = [:]
  /// What the running step may still read.
  var retired: [DeviceMemory] = []
  /// Whether steps are timed by the card's own clock.
  package var timesSteps = false {
    didSet { clocks = timesSteps ? [StepClock(device), StepClock(device)] : [] }
  }
  /// Whether a step that came twice in a row is replayed again before its launches are known.
  package var expectsSteps = true
  /// Milliseconds of the last step from its first kernel to the arrival of its logits, where steps
  /// are timed.
  package private(set) var stepMilliseconds = 0.0
  /// Whether choosers that keep the highest scores note what their rows had to exceed.
  package var measuresLevels = false
  /// What the last step chose.
  package private(set) var chosenToken: TokenID?
  var sampler: DeviceSampler?
  let cacheContext: CacheContext
  private(set) var recorder = StepRecorder()
  /// Of steps at even and at odd positions.
  private var clocks: [StepClock] = []
  /// The step that runs already, in the expectation that it is this one.
  private var expected: RecordedStep?
  /// Whether part of the step has run already.
  private var isBroken = false
  /// Whether the host changes what the step's launches read.
  var readsHost = false
  /// Sees what passes through the blocks of a prompt.
  package var observer: (any StepObserver)?
  /// Where the host finds what is shown.
  var shown: PinnedMemory?
  /// A failure to find memory in a verb, which must not throw.
  private var shortage: BackendError?

  package init(
    weights: DeviceModel, module: KernelModule, options: CUDAOptions = CUDAOptions()
  ) throws(BackendError) {
    let (device, architecture) = (weights.device, weights.weights.architecture)
    try CodeGroups.check(weights.weights)
    self.weights = weights
    self.device = device
    self.module = module
    self.options = options
    model = weights.weights
    cacheLayout = CUDACacheLayout(
      layers: architecture.layers, groups: architecture.kvHeads,
      paddedHead: Padding.head(architecture.headWidth),
      dtype: Self.cacheType(of: weights.weights, options),
      keptStride: Self.keptStride(of: weights.weights, options))
    geometry = LaunchGeometry(model: model, multiprocessors: device.multiprocessors)
    cacheContext = CacheContext(device, module: module)
    renewedColumns = geometry.renewedColumns(
      width: architecture.hidden, wanted: options.renewedColumns)
    let multiplies = options.batchCapacity > 1 && options.multipliesByLibrary
    products = try (multiplies ? device.products : nil).map {
      library throws(BackendError) in
      try MatrixProducts(library, on: device)
    }
    scratch = try CUDAScratch(
      device, model: model, layout: cacheLayout, geometry: geometry,
      decodedBytes: products == nil ? nil : options.decodedBytes)
  }

  /// A backend whose kernels are compiled for the card, or were kept from an earlier time.
  package convenience init(
    weights: DeviceModel, on device: CUDADevice, options: CUDAOptions = CUDAOptions()
  ) throws(BackendError) {
    let kernels = Self.kernelOptions(of: weights.weights, on: device, options)
    try self.init(
      weights: weights, module: KernelStore().module(for: kernels, on: device), options: options)
  }

  /// What keys and values of a model are stored in.
  package static func cacheType(of model: PackedModel, _ options: CUDAOptions) -> DType {
    options.cacheType ?? (model.format == .plain(.float32) ? .float32 : .float16)
  }

  /// What the model's kernels are compiled for.
  package static func kernelOptions(
    of model: PackedModel, on device: CUDADevice, _ options: CUDAOptions
  ) -> KernelOptions {
    KernelOptions(
      capability: device.capability, cacheType: cacheType(of: model, options),
      paddedHead: Padding.head(model.architecture.headWidth),
      groups: CodeGroups.first(of: model.formats))
  }

  package var architecture: Architecture { model.architecture }
  package var batchCapacity: Int { options.batchCapacity }
  /// Decode steps that were replayed whole, and the kernels of the last of them.
  package var replays: Int { recorder.replays }
  package var graphNodes: Int { recorder.nodes }
  /// Steps that were replayed before their launches were known, and rightly so; and the others.
  package var guesses: (right: Int, wrong: Int) { (recorder.guesses, recorder.mistakes) }
  /// Steps that ran on a token before the host knew it, and were not asked for.
  package var surplusSteps: Int { cacheContext.surplus }
  var isSingle: Bool { batch.tokens.count == 1 }

  package func makeBuffer(width: Int) -> CUDABuffer {
    let stride = Padding.width(width)
    let memory = attempt {
      () throws(BackendError) in
      try DeviceMemory(device, byteCount: 4 * stride * batchCapacity, what: "a buffer")
    }
    return CUDABuffer(memory: memory, stride: stride)
  }

  package func makeCache(capacity: Int, window: Int) throws(BackendError) -> CUDACache {
    device.enter()
    let cache = try CUDACache(
      cacheContext, layout: cacheLayout, capacity: capacity, window: window)
    try device.throwFailure()
    return cache
  }

  package func combine(_ contribution: CUDABuffer) {}

  // A step ----------------------------------------------------------------------------------------

  package func begin(_ batch: StepBatch<CUDACache>) {
    precondition(
      batch.tokens.count <= batchCapacity,
      "\(batch.tokens.count) tokens in a batch of \(batchCapacity)")
    device.enter()
    self.batch = batch
    stepNumber += 1
    (isBroken, readsHost) = (false, false)
    launches.removeAll()
    notes.removeAll(keepingCapacity: true)
    pendingNorm?.deferred = nil
    pendingNorm = nil
    roundedBatch = nil
    pendingChoices.removeAll(keepingCapacity: true)
    riding.removeAll(keepingCapacity: true)
    (pendingSum, renewals) = (nil, 0)
    // Embeddings come without sums.
    tilesOwner?.tiles = nil
    let positions = batch.slices.map { slice in
      precondition(
        slice.position + slice.count <= slice.cache.capacity,
        "\(slice.position + slice.count) positions in a cache of \(slice.cache.capacity)")
      return slice.cache.capacity
    }
    attempt { () throws(BackendError) in
      retired += try scratch.reserve(
        tokens: batch.tokens.count, wanted: batch.wanted.count, batchCapacity: batchCapacity,
        positions: positions.max() ?? 0)
    }
    expected = claimAhead()
    followRule()
    if expected == nil {
      scratch.upload(batch)
      runExpected()
    }
    clearCounters()
    tally.tokens += batch.tokens.count
  }

  /// Counters start at zero, and what the cache has settled is saved.
  private func clearCounters() {
    let words = scratch.resultWords
    var job = dv_clear_arguments()
    (job.words, job.count) = (scratch.results, Int32(words))
    if let cache = single, cache.window > 0 {
      (job.settled, job.saved) = (cache.debts.settled, cache.debts.saved)
      job.entries = Int32(cache.debts.entries)
    }
    if isSingle, renewedColumns > 0 {
      (job.marks, job.mark_count) = (scratch.marks(0), Int32(scratch.markWords))
    }
    let items = max(words, Int(job.entries), Int(job.mark_count))
    launch(.clearWords, Grid((items + 255) / 256), job)
  }

  /// The cache of a step of one token.
  var single: CUDACache? {
    isSingle ? batch.slices.first { $0.count == 1 }?.cache : nil
  }

  // Expected steps --------------------------------------------------------------------------------

  var stepKey: StepKey? {
    single.map {
      StepKey(
        cache: ObjectIdentifier($0), wanted: batch.wanted.count,
        rule: choosesToken ? batch.rule : nil, releases: device.releases)
    }
  }

  /// Replays the step that is expected, while the host finds out whether it is the one.
  private func runExpected() {
    guard expectsSteps, shortage == nil, let key = stepKey, let step = recorder.expected(key)
    else { return }
    startClock(firstPosition)
    step.replay()
    fetch(firstPosition)
    expected = step
  }

  /// The clock is read where the step at `position` begins.
  func startClock(_ position: Int) {
    if !clocks.isEmpty { clocks[position % 2].start() }
  }

  /// Brings results to the host, where the step at `position` does not do so itself.
  func fetch(_ position: Int) {
    if !choosesToken { scratch.fetch(wanted: batch.wanted.count) }
    if !clocks.isEmpty { clocks[position % 2].stop() }
    if choosesToken { sampler?.end(position) }
  }

  /// Whether the step has run already; one that should not have run is undone.
  private func hasRun(_ launches: LaunchList?) -> Bool {
    guard let step = expected else { return false }
    expected = nil
    if recorder.confirm(step, is: launches) { return true }
    single?.restoreDebts()
    // A step that chose a token has put it where its own was.
    if choosesToken { scratch.upload(batch) }
    return false
  }

  // Launches --------------------------------------------------------------------------------------

  /// Appends a launch to the step.
  func launch<Arguments: BitwiseCopyable>(
    _ kernel: Kernel, _ type: KernelType, _ grid: Grid, sharedBytes: Int = 0,
    _ arguments: Arguments
  ) {
    guard grid.x > 0, grid.y > 0, grid.z > 0 else { return }
    launchWaiting()
    module.allow(kernel, type, sharedBytes: sharedBytes)
    launches.append(
      module.function(kernel, type), threads: kernel.threads(type, cache: cacheLayout.dtype),
      grid: grid,
      sharedBytes: sharedBytes, awaits: kernel.awaits, arguments)
    launchNumber += 1
  }

  /// The same for kernels that read no weights.
  func launch<Arguments: BitwiseCopyable>(
    _ kernel: Kernel, _ grid: Grid, sharedBytes: Int = 0, _ arguments: Arguments
  ) {
    launch(kernel, .float32, grid, sharedBytes: sharedBytes, arguments)
  }

  /// Appends one of the library's products to the step.
  func launch(_ plan: ProductPlan, _ places: ProductCall) {
    launchWaiting()
    launches.append(plan, places)
    launchNumber += 1
  }

  /// Runs what the step has come to, for whoever looks at it in between.
  func flush() {
    makeChoices()
    _ = hasRun(nil)
    isBroken = true
    launches.run(on: device)
    launches.removeAll()
  }

  package func synchronize() throws(BackendError) {
    makeChoices()
    if let shortage { throw shortage }
    if !hasRun(launches) {
      startClock(firstPosition)
      if isBroken || !isSingle {
        flush()
      } else {
        recorder.run(launches, key: readsHost ? nil : stepKey, on: device)
      }
      fetch(firstPosition)
    }
    takeResults()
    // Whoever looks at lists afterwards runs nothing again.
    launches.removeAll()
    if !clocks.isEmpty { stepMilliseconds = clocks[firstPosition % 2].milliseconds }
    retired.removeAll()
    try device.throwFailure()
    for slice in batch.slices { slice.cache.grow(by: slice.count) }
    count(notes)
    guard scratch.hasBadLogit else { return }
    if choosesToken { throw .nonFiniteLogits(position: firstPosition) }
    for (index, token) in batch.wanted.enumerated()
    where !logits(index).allSatisfy({ $0.isFinite }) {
      throw .nonFiniteLogits(position: position(of: token))
    }
  }

  /// Waits for the step; one that chooses its token is followed by the next meanwhile.
  private func takeResults() {
    guard choosesToken, let sampler else {
      device.wait()
      (scratch.report, chosenToken) = (nil, nil)
      return
    }
    startAhead()
    sampler.wait(for: firstPosition)
    scratch.report = sampler.report(of: firstPosition)
    chosenToken = sampler.token(of: firstPosition)
  }

  package func logits(_ index: Int) -> UnsafeBufferPointer<Float> {
    precondition(chosenToken == nil, "a step that chooses its token leaves its logits on the card")
    return scratch.logits(index)
  }

  /// Position, in its own sequence, of the batch's token at `index`.
  private func position(of index: Int) -> Int {
    for slice in batch.slices where index < slice.start + slice.count {
      return slice.position + index - slice.start
    }
    return 0
  }

  /// Keeps a failure until the step ends: verbs do not throw.
  @discardableResult
  func attempt<Result>(_ body: () throws(BackendError) -> Result) -> Result? {
    do throws(BackendError) {
      return try body()
    } catch {
      if shortage == nil { shortage = error }
      return nil
    }
  }
}
