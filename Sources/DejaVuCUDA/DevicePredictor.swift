package import DejaVuCore

/// Sizes of a low-rank predictor: logits = B · A · x + bias.
///
/// Everything lies in one row of floats: A `[rank, width]`, B transposed `[rank, padded rows]`, and the
/// bias `[padded rows]`.
package struct PredictorShape: Hashable, Sendable {
  package let rank: Int
  /// Of the stream, padded.
  package let width: Int
  package let rows: Int
  package let paddedRows: Int

  package init(rank: Int, width: Int, rows: Int, paddedRows: Int) {
    (self.rank, self.width, self.rows, self.paddedRows) = (rank, width, rows, paddedRows)
  }

  /// Floats of A and B, which decay, and of everything.
  var decaying: Int { rank * (width + paddedRows) }
  package var count: Int { decaying + paddedRows }
}

/// A predictor in training on a card: its values and AdamW's moments.
package final class DevicePredictor {
  package let shape: PredictorShape
  let values: DeviceMemory
  let first: DeviceMemory
  let second: DeviceMemory
  private let device: CUDADevice

  /// Copies a predictor to the card.
  ///
  /// - Parameters:
  ///   - device: the card.
  ///   - shape: sizes of the predictor.
  ///   - values: A, B and the bias, `shape.count` floats.
  ///   - first: AdamW's first moments, as many.
  ///   - second: AdamW's second moments, as many.
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  package init(
    _ device: CUDADevice, shape: PredictorShape, values: UnsafePointer<Float>,
    first: UnsafePointer<Float>, second: UnsafePointer<Float>
  ) throws(BackendError) {
    self.device = device
    self.shape = shape
    func upload(_ from: UnsafePointer<Float>) throws(BackendError) -> DeviceMemory {
      let memory = try DeviceMemory(
        device, byteCount: 4 * shape.count, what: "a predictor in training")
      device.copy(from, to: memory.address, bytes: 4 * shape.count)
      return memory
    }
    device.enter()
    self.values = try upload(values)
    self.first = try upload(first)
    self.second = try upload(second)
  }

  /// Replaces the values, the moments staying as they are.
  package func assign(_ values: UnsafePointer<Float>) {
    device.copy(values, to: self.values.address, bytes: 4 * shape.count)
  }

  /// Copies everything back.
  ///
  /// - Parameters:
  ///   - values: room for `shape.count` floats.
  ///   - first: the same for AdamW's first moments.
  ///   - second: the same for its second moments.
  /// - Throws: the first failure of the card.
  package func fetch(
    values: UnsafeMutablePointer<Float>, first: UnsafeMutablePointer<Float>,
    second: UnsafeMutablePointer<Float>
  ) throws(BackendError) {
    for (memory, to) in [(self.values, values), (self.first, first), (self.second, second)] {
      device.fetch(memory.address, to: to, bytes: 4 * shape.count)
    }
    device.wait()
    try device.throwFailure()
  }
}
