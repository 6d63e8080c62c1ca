import CDejaVuCUDA
package import DejaVuCore

/// A model's weights on a card: a ``PackedModel`` whose rows lie at device addresses.
///
/// The host must never read through them; rows of codes may lie further apart than on the host.
package final class DeviceModel {
  package let weights: PackedModel
  /// Bytes on the card.
  package let byteCount: Int
  let device: CUDADevice

  package init(_ device: CUDADevice, weights: PackedModel, byteCount: Int) {
    self.device = device
    self.weights = weights
    self.byteCount = byteCount
  }

  /// What a backend takes of the card beside weights and caches, at most.
  package static let reserveBytes = 2 << 30

  /// - Throws: ``BackendError/outOfMemory(what:bytes:)`` where weights of that size cannot fit,
  ///   before anything is allocated.
  package static func requireRoom(_ bytes: Int, on device: CUDADevice) throws(BackendError) {
    let free = device.freeBytes
    try device.throwFailure()
    guard bytes <= free else {
      throw .outOfMemory(
        what: "the weights on \(device.name), which has \(free) bytes free", bytes: bytes)
    }
  }

  /// Copies a model's weights to the card, reading beside copying.
  ///
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)`` before anything is allocated;
  ///   ``BackendError/unavailable(backend:reason:)`` for weights that there are no kernels for.
  package convenience init(
    uploading model: PackedModel, to device: CUDADevice
  ) throws(BackendError) {
    try CodeGroups.check(model)
    let map = CardLayout(model)
    try Self.requireRoom(map.byteCount, on: device)
    let memory = try DeviceMemory(device, byteCount: map.byteCount, what: "the weights")
    try map.copy(to: memory)
    self.init(device, weights: map.moved(to: memory), byteCount: map.byteCount)
  }
}

extension DeviceMemory: @unchecked Sendable {
  // Safe to share: addresses are constant, and the device is used by one thread at a time.
}

/// Every piece of a model's memory once, with its place on the card.
///
/// Only ``copy(to:)`` reads the memory.
package struct CardLayout {
  private struct Piece {
    let base: UnsafeRawPointer
    /// Rows of `rowBytes` here, each at a multiple of `stride` there.
    let rows: Int
    let rowBytes: Int
    let stride: Int
    let offset: Int

    /// Bytes `done...` of what lies on the card.
    func copy(from done: Int, byteCount: Int, to slot: UnsafeMutableRawPointer) {
      guard stride != rowBytes else {
        return slot.copyMemory(from: base + done, byteCount: byteCount)
      }
      for row in 0..<byteCount / stride {
        (slot + row * stride).copyMemory(
          from: base + (done / stride + row) * rowBytes, byteCount: rowBytes)
      }
    }
  }

  private let model: PackedModel
  private var pieces: [Piece] = []
  private var offsets: [UnsafeRawPointer: Int] = [:]
  /// Bytes of all pieces on the card.
  package private(set) var byteCount = 0

  package init(_ model: PackedModel) {
    self.model = model
    let upload = Uploading()
    _ = Self.walk(
      model,
      matrix: {
        upload.add($0.base, rows: $0.rows, rowBytes: $0.stride, stride: $0.cardStride); return $0
      }
    ) {
      let bytes = $0.count * 4
      upload.add(UnsafeRawPointer($0.base), rows: 1, rowBytes: bytes, stride: bytes)
      return $0
    }
    (pieces, offsets, byteCount) = (upload.pieces, upload.offsets, upload.byteCount)
  }

  private final class Uploading {
    var pieces: [Piece] = []
    var offsets: [UnsafeRawPointer: Int] = [:]
    var byteCount = 0

    /// A tied head is the token embedding, whose rows are there already.
    func add(_ base: UnsafeRawPointer, rows: Int, rowBytes: Int, stride: Int) {
      guard offsets[base] == nil else { return }
      offsets[base] = byteCount
      pieces.append(
        Piece(base: base, rows: rows, rowBytes: rowBytes, stride: stride, offset: byteCount))
      byteCount += (rows * stride + 255) / 256 * 256
    }
  }

  /// Reads into one pinned buffer while the other is copied.
  func copy(to memory: DeviceMemory) throws(BackendError) {
    let (device, size) = (memory.device, 32 << 20)
    let slots = [
      try PinnedMemory(device, byteCount: size, what: "a copy of weights"),
      try PinnedMemory(device, byteCount: size, what: "a copy of weights"),
    ]
    let events = [device.makeEvent(), device.makeEvent()]
    defer { for case let event? in events { _ = device.driver.release_event?(event) } }
    var turn = 0
    for piece in pieces {
      let bytes = piece.rows * piece.stride
      // Whole rows where they are moved apart.
      let size = piece.stride == piece.rowBytes ? size : size / piece.stride * piece.stride
      var done = 0
      while done < bytes {
        let (slot, count) = (slots[turn % 2], min(size, bytes - done))
        if turn >= 2, let event = events[turn % 2] {
          device.check(device.driver.wait_event?(event), "weights cannot be copied")
        }
        piece.copy(from: done, byteCount: count, to: slot.base)
        device.copyLater(
          slot.base, to: memory.address + dv_address(piece.offset + done), bytes: count)
        device.record(events[turn % 2])
        done += count
        turn += 1
      }
    }
    device.wait()
    try device.throwFailure()
  }

  /// Bytes from the start of the memory on the card to a piece that begins at `base` on the host.
  package func offset(of base: UnsafeRawPointer) -> Int {
    guard let offset = offsets[base] else { preconditionFailure("a weight that has no place") }
    return offset
  }

  /// The model with its rows at their places on the card.
  package func moved(to memory: DeviceMemory) -> PackedModel {
    let place = { (base: UnsafeRawPointer) -> UnsafeRawPointer in
      let address = UInt(memory.address) + UInt(offset(of: base))
      guard let place = UnsafeRawPointer(bitPattern: address) else {
        preconditionFailure("memory lies behind address 0")
      }
      return place
    }
    return Self.walk(
      model, owner: memory,
      matrix: {
        RowMatrix(
          base: place($0.base), format: $0.format, rows: $0.rows, columns: $0.columns,
          stride: $0.cardStride)
      },
      vector: {
        FloatVector(
          base: place(UnsafeRawPointer($0.base)).assumingMemoryBound(to: Float.self),
          count: $0.count)
      })
  }

  /// The same model with every matrix and vector replaced.
  private static func walk(
    _ model: PackedModel, owner: (any AnyObject & Sendable)? = nil,
    matrix: (RowMatrix) -> RowMatrix, vector: (FloatVector) -> FloatVector
  ) -> PackedModel {
    func norm(_ norm: NormWeights) -> NormWeights {
      NormWeights(weight: norm.weight.map(vector), bias: norm.bias.map(vector))
    }
    let layers = model.layers.map { from in
      var layer = PackedLayer(
        attentionNorm: norm(from.attentionNorm), mlpNorm: norm(from.mlpNorm),
        query: matrix(from.query), key: matrix(from.key), value: matrix(from.value),
        output: matrix(from.output),
        bundle: NeuronBundle(
          matrix: matrix(from.bundle.matrix), rowsPerNeuron: from.bundle.rowsPerNeuron))
      layer.queryBias = from.queryBias.map(vector)
      layer.keyBias = from.keyBias.map(vector)
      layer.valueBias = from.valueBias.map(vector)
      layer.outputBias = from.outputBias.map(vector)
      layer.upBias = from.upBias.map(vector)
      layer.gateBias = from.gateBias.map(vector)
      layer.downBias = from.downBias.map(vector)
      return layer
    }
    return PackedModel(
      architecture: model.architecture, tokenEmbedding: matrix(model.tokenEmbedding),
      positionEmbedding: model.positionEmbedding.map(matrix),
      embeddingNorm: model.embeddingNorm.map(norm), projectIn: model.projectIn.map(matrix),
      projectOut: model.projectOut.map(matrix), finalNorm: model.finalNorm.map(norm),
      head: matrix(model.head), layers: layers, owner: owner ?? model)
  }
}
