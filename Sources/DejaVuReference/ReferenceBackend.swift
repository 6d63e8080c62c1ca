package import DejaVuCore

/// The definition of every verb, in loops that can be read beside the equations.
///
/// Sums are in `Double` and what is stored between two steps of a block is in `Float`. Nothing is
/// fused, packed or reordered, and keys and values of every group are computed at once; every other
/// backend must agree with this one within a stated tolerance. It allocates and is slow.
package final class ReferenceBackend: Backend {
  package typealias Buffer = ReferenceBuffer
  package typealias Cache = ReferenceCache
  package typealias Rows = ReferenceRows

  package let model: PackedModel
  package let batchCapacity: Int
  /// What keys and values are rounded to before they are stored.
  package let cacheType: DType
  /// Tokens and rows are counted; bytes are not, since these loops read as they please.
  package var tally = Tally()

  var batch = StepBatch<ReferenceCache>()
  /// `[wanted, V]`.
  private var scores: UnsafeMutableBufferPointer<Float>

  package init(model: PackedModel, cacheType: DType = .float32, batchCapacity: Int = 512) {
    self.model = model
    self.cacheType = cacheType
    self.batchCapacity = batchCapacity
    scores = .allocate(capacity: 0)
  }

  deinit { scores.deallocate() }

  package var architecture: Architecture { model.architecture }

  package func makeBuffer(width: Int) -> ReferenceBuffer {
    ReferenceBuffer(capacity: batchCapacity, width: width)
  }

  package func makeCache(capacity: Int, window: Int) throws(BackendError) -> ReferenceCache {
    ReferenceCache(
      layers: architecture.layers, groups: architecture.kvHeads, dtype: cacheType,
      capacity: capacity)
  }

  package func begin(_ batch: StepBatch<ReferenceCache>) {
    precondition(
      batch.tokens.count <= batchCapacity,
      "\(batch.tokens.count) tokens in a batch of \(batchCapacity)")
    for slice in batch.slices {
      let needed = slice.position + slice.count
      precondition(
        needed <= slice.cache.capacity, "\(needed) positions in \(slice.cache.capacity)")
    }
    self.batch = batch
    tally.tokens += batch.tokens.count
  }

  package func combine(_ contribution: ReferenceBuffer) {}

  package func synchronize() throws(BackendError) {
    for slice in batch.slices { slice.cache.grow(by: slice.count) }
    for (index, token) in batch.wanted.enumerated()
    where !logits(index).allSatisfy({ $0.isFinite }) {
      throw .nonFiniteLogits(position: position(of: token))
    }
  }

  package func logits(_ index: Int) -> UnsafeBufferPointer<Float> {
    let width = architecture.vocabulary
    return UnsafeBufferPointer(rebasing: scores[index * width..<(index + 1) * width])
  }

  /// Replaces the logits of the last step.
  func store(logits rows: [[Float]]) {
    scores.deallocate()
    scores = .allocate(capacity: rows.count * architecture.vocabulary)
    _ = scores.initialize(from: rows.joined())
  }

  /// Position, in its own sequence, of the batch's token at `index`.
  private func position(of index: Int) -> Int {
    for slice in batch.slices where index < slice.start + slice.count {
      return slice.position + index - slice.start
    }
    return 0
  }
}
