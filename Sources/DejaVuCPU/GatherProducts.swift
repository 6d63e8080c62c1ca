import CDejaVuKernels
package import DejaVuCore

/// One token's MLP over chosen neurons, computed in the ways that `dejavu bench --gather` compares.
///
/// Random weights of a few layers in two layouts of the same numbers. Biases are so high that every
/// neuron is active, so that no way skips a row that another reads. All ways give the same sums but
/// for their order.
package final class GatherProducts {
  /// How W2 lies in memory; W1's rows are contiguous in either.
  package enum Layout: String, CaseIterable, Hashable, Sendable {
    /// A neuron's two rows side by side, `[F, 2, D]`: the engine's own.
    case rows
    /// W2 as checkpoints have it, `[D, F]`: a neuron is a column.
    case columns
  }

  package enum Method: String, CaseIterable, Hashable, Sendable {
    /// Every neuron, in the order of memory.
    case dense
    /// Chosen rows are multiplied where they lie; chosen columns are picked row by row into the
    /// cache and multiplied there.
    case fused
    /// Chosen rows, or columns, are copied together; then a dense product of the copy.
    case copied
    /// W2 is read whole and multiplied by zeros where nothing was chosen.
    case streamed
  }

  package struct Variant: Hashable, Sendable {
    package let layout: Layout
    package let method: Method

    package init(_ layout: Layout, _ method: Method) {
      self.layout = layout
      self.method = method
    }

    package static let all: [Variant] = [
      Variant(.rows, .dense), Variant(.rows, .fused), Variant(.rows, .copied),
      Variant(.columns, .dense), Variant(.columns, .fused), Variant(.columns, .streamed),
      Variant(.columns, .copied),
    ]
  }

  /// D and F, multiples of 32.
  package let hidden: Int
  package let neurons: Int
  package let dtype: DType
  package let layers: Int

  let team: ThreadTeam
  let kernels: UnsafePointer<dejavu_kernels>
  let memory: GatherMemory
  /// `[D]`, the token's input.
  let x: CPUBuffer
  /// `[F]`.
  let bias: CPUBuffer
  /// Biases of the chosen neurons, beside the copies of their rows.
  let chosenBias: CPUBuffer
  /// `[F]`.
  let activations: CPUBuffer
  /// `[D]`.
  let out: CPUBuffer
  let accumulators: CPUBuffer
  let slices: Int
  let rowsRead: UnsafeMutablePointer<dejavu_rows_read>
  /// Per thread, the chosen elements of one row of W2.
  let picked: CPUBuffer

  /// Makes the weights, by all threads.
  ///
  /// - Parameters:
  ///   - hidden: D.
  ///   - neurons: F.
  ///   - dtype: what the weights are stored as.
  ///   - layers: as many different layers are there in each layout, so that none stays in a cache.
  ///   - seed: of the weights.
  ///   - base: at least ``byteCount(hidden:neurons:dtype:layers:)`` bytes on a cache line, better on
  ///     huge pages, that outlive this object.
  ///   - team: threads that compute.
  ///   - instructionSet: kernels that multiply.
  /// - Throws: ``BackendError/unavailable(backend:reason:)`` where there are no such kernels.
  package init(
    hidden: Int, neurons: Int, dtype: DType, layers: Int, seed: UInt64,
    base: UnsafeMutableRawPointer, team: ThreadTeam, instructionSet: InstructionSet
  ) throws(BackendError) {
    precondition(hidden % 32 == 0 && neurons % 32 == 0, "\(hidden) × \(neurons) is not padded")
    guard let kernels = instructionSet.table else {
      throw .unavailable(
        backend: "CPU", reason: "this machine has no \(instructionSet.rawValue)")
    }
    (self.hidden, self.neurons, self.dtype, self.layers) = (hidden, neurons, dtype, layers)
    (self.team, self.kernels) = (team, kernels)
    memory = GatherMemory(
      hidden: hidden, neurons: neurons, dtype: dtype, layers: layers, base: base)
    memory.fill(seed: seed, copier: try RowCopier(team: team))
    x = CPUBuffer(capacity: 1, width: hidden)
    for i in 0..<hidden { x.base[i] = Float(3).squareRoot() * GatherMemory.uniform(seed, 3, i) }
    bias = CPUBuffer(capacity: 1, width: neurons)
    for i in 0..<neurons { bias.base[i] = 8 }
    chosenBias = CPUBuffer(capacity: 1, width: neurons)
    activations = CPUBuffer(capacity: 1, width: neurons)
    out = CPUBuffer(capacity: 1, width: hidden)
    slices = CPUScratch.slices(weights: neurons * hidden)
    accumulators = CPUBuffer(capacity: slices, width: hidden)
    rowsRead = .allocate(capacity: slices)
    rowsRead.initialize(repeating: dejavu_rows_read(), count: slices)
    picked = CPUBuffer(capacity: team.count, width: neurons)
  }

  deinit { rowsRead.deallocate() }

  /// Memory for the weights in both layouts and for a copy of one layer.
  package static func byteCount(hidden: Int, neurons: Int, dtype: DType, layers: Int) -> Int {
    (4 * layers + 2) * hidden * neurons * dtype.size
  }

  /// Computes the block of one layer for the neurons in `list`, ascending; `dense` takes them all.
  ///
  /// - Returns: `[D]`, valid until the next call.
  package func run(
    _ variant: Variant, layer: Int, list: UnsafeBufferPointer<Int32>
  ) -> UnsafeBufferPointer<Float> {
    switch (variant.layout, variant.method) {
    case (.rows, .dense): block(memory.bundle(layer), nil, count: neurons, bias: bias)
    case (.rows, .fused): block(memory.bundle(layer), list, count: list.count, bias: bias)
    case (.rows, _): copyRows(layer: layer, list)
    case (.columns, .dense): multiplyAll(layer: layer)
    case (.columns, .fused), (.columns, .streamed):
      multiplyInPlace(layer: layer, list, picks: variant.method == .fused)
    case (.columns, .copied): copyColumns(layer: layer, list)
    }
    return UnsafeBufferPointer(start: out.base, count: hidden)
  }
}
