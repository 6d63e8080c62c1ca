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

/// AdamW's moments of a predictor that goes to a card.
package enum PredictorMoments {
  /// It takes no steps.
  case none
  /// It has taken none yet.
  case zeros
  /// `shape.count` floats each.
  case floats(first: UnsafePointer<Float>, second: UnsafePointer<Float>)
}

/// A predictor on a card: its values, and AdamW's moments where it is trained.
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
  ///   - moments: those of AdamW.
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  package init(
    _ device: CUDADevice, shape: PredictorShape, values: UnsafePointer<Float>,
    moments: PredictorMoments
  ) throws(BackendError) {
    self.device = device
    self.shape = shape
    var momentBytes = 4 * shape.count
    if case .none = moments { momentBytes = 0 }
    func memory(_ bytes: Int) throws(BackendError) -> DeviceMemory {
      try DeviceMemory(device, byteCount: bytes, what: "a predictor in training")
    }
    device.enter()
    self.values = try memory(4 * shape.count)
    (first, second) = (try memory(momentBytes), try memory(momentBytes))
    assign(values)
    switch moments {
    case .none: break
    case .zeros:
      first.clear()
      second.clear()
    case .floats(let first, let second):
      device.copy(first, to: self.first.address, bytes: momentBytes)
      device.copy(second, to: self.second.address, bytes: momentBytes)
    }
  }

  /// Replaces the values, the moments staying as they are.
  package func assign(_ values: UnsafePointer<Float>) {
    device.copy(values, to: self.values.address, bytes: 4 * shape.count)
  }

  /// Copies the values back, the moments staying where they are.
  ///
  /// - Parameter values: room for `shape.count` floats.
  /// - Throws: the first failure of the card.
  package func fetch(values: UnsafeMutablePointer<Float>) throws(BackendError) {
    device.fetch(self.values.address, to: values, bytes: 4 * shape.count)
    device.wait()
    try device.throwFailure()
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
