import CDejaVuCUDA
import DejaVuCore

/// A backend's working space on its card.
final class CUDAScratch {
  private let device: CUDADevice
  private let architecture: Architecture
  private let layout: CUDACacheLayout
  /// Tokens that there is room for.
  private var tokens = 0
  private var logitRows = 0
  private var positions = 0

  /// float `[T, F]` activations, and gates where there are any.
  private(set) var activations = CUDABuffer(memory: nil, stride: 0)
  private(set) var gates = CUDABuffer(memory: nil, stride: 0)
  /// float `[T, (H + 2 K) · h]`, queries, keys and values; of one token, queries.
  private(set) var projected = CUDABuffer(memory: nil, stride: 0)
  private(set) var context = CUDABuffer(memory: nil, stride: 0)
  private(set) var embedding = CUDABuffer(memory: nil, stride: 0)
  /// float `[T, max(F, K)]`, what rows are chosen by.
  private(set) var scores = CUDABuffer(memory: nil, stride: 0)
  private(set) var wanted = CUDABuffer(memory: nil, stride: 0)
  /// float `[slices, D]` and `[H, splits, paddedHead + 2]`.
  let sums: CUDABuffer
  let attentionParts: DeviceMemory
  /// A vector that kernels read, in floats and in the cache's type; and 8 bits `[tokens or choices]`
  /// with what one unit stands for.
  let prepared: DeviceMemory
  let preparedKept: DeviceMemory
  private(set) var rounded = CUDABuffer(memory: nil, stride: 0)
  /// Tiles of 128 columns that a stream has.
  let tiles: Int
  /// float `[tiles, 2]`.
  let tileSums: DeviceMemory
  /// Three sets of numbers of 64 bits `[tiles, 2]`: what blocks of a launch leave for each other.
  private let markMemory: DeviceMemory
  /// A batch's vectors in 16 bits, `[T, width]` of whatever width, and a block of rows that were codes;
  /// nil where products read floats.
  private(set) var operands: DeviceMemory?
  let decoded: DeviceMemory?
  /// Neurons' values of a batch in 16 bits, `[T, F]`; and the biases of up rows, `[L, F]`.
  private(set) var lanes: DeviceMemory?
  let upBiases: DeviceMemory?
  /// float `[score jobs, rows]`, and of every job a ticket, zero between launches, and bits.
  let jobScores: CUDABuffer
  let jobMarks: CUDABuffer
  /// float `[H]`, with ALiBi.
  let slopes: DeviceMemory?
  /// int32 `[T]` token ids, then `[T]` positions, of the tokens of a batch.
  private let ids: DeviceMemory
  private let hostIds: PinnedMemory
  private let idCapacity: Int
  /// Whether products read vectors in 16 bits.
  private let narrows: Bool
  private var idCount = 0
  /// A flag, counters `[L, 8]`, then logits `[wanted, V]`.
  private var resultMemory: DeviceMemory
  private var hostResults: PinnedMemory
  private(set) var cosines: DeviceMemory?
  private(set) var sines: DeviceMemory?

  init(
    _ device: CUDADevice, model: PackedModel, layout: CUDACacheLayout, geometry: LaunchGeometry,
    decodedBytes: Int?, idCapacity: Int = 1 << 16
  ) throws(BackendError) {
    self.device = device
    self.layout = layout
    self.idCapacity = idCapacity
    narrows = decodedBytes != nil
    architecture = model.architecture
    decoded =
      CodeGroups.first(of: model.formats) == nil
      ? nil
      : try decodedBytes.map { bytes throws(BackendError) in
        try DeviceMemory(device, byteCount: bytes, what: "decoded rows")
      }
    let biasBytes = 2 * model.layers.count * Padding.width(model.architecture.neurons)
    upBiases =
      decodedBytes == nil || model.layers.allSatisfy { $0.upBias == nil }
      ? nil : try DeviceMemory(device, byteCount: biasBytes, what: "rounded biases")
    let (a, words) = (architecture, 8 + 8 * architecture.layers)
    // Rows of codes are padded to blocks of 128 columns.
    tiles = (a.hidden + 127) / 128
    let width = 128 * tiles
    sums = CUDABuffer(
      memory: try DeviceMemory(
        device, byteCount: 4 * geometry.slices * width, what: "sums of rows"), stride: width)
    attentionParts = try DeviceMemory(
      device, byteCount: 4 * a.heads * geometry.splits * (layout.paddedHead + 2),
      what: "parts of attention")
    prepared = try DeviceMemory(
      device, byteCount: LaunchGeometry.vectorBytes(max(a.hidden, a.embeddingWidth)),
      what: "a vector")
    preparedKept = try DeviceMemory(device, byteCount: layout.keptBytes, what: "a vector")
    tileSums = try DeviceMemory(device, byteCount: 8 * tiles, what: "sums of tiles")
    markMemory = try DeviceMemory(device, byteCount: 3 * 16 * tiles, what: "marks of sums")
    let (jobs, universe) = (Int(dv_score_jobs), max(a.neurons, a.kvHeads))
    let (scoreStride, markStride) = (Padding.width(universe), Padding.width(universe / 32 + 8))
    jobScores = CUDABuffer(
      memory: try DeviceMemory(device, byteCount: 4 * jobs * scoreStride, what: "scores"),
      stride: scoreStride)
    jobMarks = CUDABuffer(
      memory: try DeviceMemory(device, byteCount: 4 * jobs * markStride, what: "marks of choices"),
      stride: markStride)
    jobMarks.memory?.clear()
    ids = try DeviceMemory(device, byteCount: 8 * idCapacity, what: "tokens")
    hostIds = try PinnedMemory(device, byteCount: 8 * idCapacity, what: "tokens")
    resultMemory = try DeviceMemory(device, byteCount: 4 * words, what: "results")
    hostResults = try PinnedMemory(device, byteCount: 4 * words, what: "results")
    guard a.positions == .alibi else {
      slopes = nil
      return
    }
    let memory = try DeviceMemory(device, byteCount: 4 * a.heads, what: "slopes")
    alibiSlopes(heads: a.heads).withUnsafeBytes {
      if let base = $0.baseAddress { device.copy(base, to: memory.address, bytes: $0.count) }
    }
    slopes = memory
  }

  /// int32s of all marks.
  var markWords: Int { 3 * 4 * tiles }
  /// The marks of the step's launch number `renewal`: three sets take turns.
  func marks(_ renewal: Int) -> dv_address {
    markMemory.address + dv_address(renewal % 3 * 16 * tiles)
  }

  // Results ---------------------------------------------------------------------------------------

  var results: dv_address { resultMemory.address }
  /// int32s before the logits, which start at a multiple of 16 bytes.
  var resultWords: Int { 8 + 8 * architecture.layers }
  /// Set when a logit is not finite.
  var flag: dv_address { results }
  /// Of a layer: four of attention, then two of the MLP.
  func counters(layer: Int) -> dv_address { results + dv_address(4 * (8 + 8 * layer)) }
  var logits: dv_address { results + dv_address(4 * resultWords) }

  func logits(_ index: Int) -> UnsafeBufferPointer<Float> {
    let base = (hostResults.base + 4 * resultWords).assumingMemoryBound(to: Float.self)
    return UnsafeBufferPointer(
      start: base + index * architecture.vocabulary, count: architecture.vocabulary)
  }

  /// Where the last step's flag and counters came to; nil where they were fetched with its logits.
  var report: UnsafeRawPointer?
  private var words: UnsafeRawPointer { report ?? UnsafeRawPointer(hostResults.base) }

  var hasBadLogit: Bool { words.load(as: Int32.self) != 0 }

  func counter(layer: Int, _ at: Int) -> Int {
    Int(words.load(fromByteOffset: 4 * (8 + 8 * layer + at), as: Int32.self))
  }

  func fetch(wanted: Int) {
    device.fetch(
      results, to: hostResults.base, bytes: 4 * (resultWords + wanted * architecture.vocabulary))
  }

  // Tokens ----------------------------------------------------------------------------------------

  var tokenIds: dv_address { ids.address }
  func positions(token: Int) -> dv_address { ids.address + dv_address(4 * (idCount + token)) }

  func upload(_ batch: StepBatch<CUDACache>) {
    precondition(batch.tokens.count <= idCapacity, "\(batch.tokens.count) tokens in one batch")
    let host = hostIds.base.assumingMemoryBound(to: Int32.self)
    idCount = batch.tokens.count
    for (t, token) in batch.tokens.enumerated() { host[t] = token }
    for slice in batch.slices {
      for i in 0..<slice.count {
        host[idCount + slice.start + i] = Int32(slice.position + i)
      }
    }
    device.copyLater(hostIds.base, to: ids.address, bytes: 2 * 4 * idCount)
  }

  // Room ------------------------------------------------------------------------------------------

  /// Makes room for a step; more than one token makes room for a whole batch.
  ///
  /// - Returns: memory that is no longer used once the stream is empty.
  func reserve(
    tokens count: Int, wanted rows: Int, batchCapacity: Int, positions: Int
  ) throws(BackendError) -> [DeviceMemory] {
    var old: [DeviceMemory] = []
    if count > tokens { old += try grow(tokens: count > 1 ? batchCapacity : 1) }
    if rows > logitRows {
      let bytes = 4 * (resultWords + rows * architecture.vocabulary)
      old.append(resultMemory)
      resultMemory = try DeviceMemory(device, byteCount: bytes, what: "logits")
      device.wait()
      hostResults = try PinnedMemory(device, byteCount: bytes, what: "logits")
      logitRows = rows
    }
    if case .rotary(let rotary) = architecture.positions, positions > self.positions {
      old += try turn(rotary, positions: positions)
    }
    return old
  }

  private func grow(tokens count: Int) throws(BackendError) -> [DeviceMemory] {
    let a = architecture
    var old: [DeviceMemory] = []
    func buffer(
      _ before: CUDABuffer, _ width: Int, rows: Int? = nil
    ) throws(BackendError) -> CUDABuffer {
      if let memory = before.memory { old.append(memory) }
      let stride = Padding.width(width)
      return CUDABuffer(
        memory: try DeviceMemory(
          device, byteCount: 4 * (rows ?? count) * stride, what: "working space"), stride: stride)
    }
    let choices = max(count, Int(dv_score_jobs))
    let columns = (a.hidden + 127) / 128 * 128
    rounded = try buffer(rounded, LaunchGeometry.eighthBytes(columns) / 4, rows: choices)
    activations = try buffer(activations, a.neurons)
    if a.isGated { gates = try buffer(gates, a.neurons) }
    projected = try buffer(projected, (a.heads + 2 * a.kvHeads) * a.headWidth)
    context = try buffer(context, a.heads * a.headWidth)
    if a.projectsEmbedding { embedding = try buffer(embedding, a.embeddingWidth) }
    scores = try buffer(scores, max(a.neurons, a.kvHeads))
    if narrows && count > 1 {
      if let memory = operands { old.append(memory) }
      let width = max(a.neurons, a.heads * a.headWidth, a.hidden, a.embeddingWidth)
      if let memory = lanes { old.append(memory) }
      lanes = try DeviceMemory(
        device, byteCount: 2 * count * Padding.width(a.neurons), what: "rounded neurons")
      operands = try DeviceMemory(
        device, byteCount: 2 * count * Padding.width(width), what: "rounded vectors")
    }
    wanted = try buffer(wanted, a.hidden)
    tokens = count
    return old
  }

  /// Cosines and sines `[positions, half]`.
  private func turn(_ rotary: Rotary, positions: Int) throws(BackendError) -> [DeviceMemory] {
    let (half, frequencies) = (rotary.width / 2, rotary.frequencies)
    var (cosine, sine) = ([Float](repeating: 0, count: half), [Float](repeating: 0, count: half))
    var tables: [[Float]] = [[], []]
    for position in 0..<positions {
      rotary.turn(at: position, frequencies: frequencies, cosines: &cosine, sines: &sine)
      tables[0] += cosine
      tables[1] += sine
    }
    let old = [cosines, sines].compactMap { $0 }
    var made: [DeviceMemory] = []
    for table in tables {
      let memory = try DeviceMemory(device, byteCount: 4 * table.count, what: "rotations")
      table.withUnsafeBytes {
        if let base = $0.baseAddress { device.copy(base, to: memory.address, bytes: $0.count) }
      }
      made.append(memory)
    }
    (cosines, sines, self.positions) = (made[0], made[1], positions)
    return old
  }
}
