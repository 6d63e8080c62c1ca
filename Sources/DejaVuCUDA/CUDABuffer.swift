import CDejaVuCUDA
package import DejaVuCore

/// `[T, width]` floats on a card.
///
/// Two things wait for whoever reads the buffer: a norm that was not computed yet, and a sum that
/// is still in parts. A decode step fuses both with what follows.
package final class CUDABuffer {
  let memory: DeviceMemory?
  /// Floats from one token to the next.
  let stride: Int
  /// The buffer and norm that this one stands for, until it is computed.
  var deferred: DeferredNorm?
  /// Whether what the buffer stood for is gone: it must be written before it is read again.
  var isStale = false
  /// Where the parts of the sum lie, and how many there are; nil when the buffer holds the sum.
  var parts: (address: dv_address, count: Int, stride: Int)?
  /// Sums of the buffer's tiles, as norms want them; nil when nobody has them.
  var tiles: (address: dv_address, width: Int)?

  init(memory: DeviceMemory?, stride: Int) {
    self.memory = memory
    self.stride = stride
  }

  func row(_ token: Int) -> dv_address { (memory?.address ?? 0) + dv_address(4 * token * stride) }
}

/// norm(source), not computed yet.
struct DeferredNorm {
  let source: CUDABuffer
  let norm: dv_norm
  /// Whether a block has read it: then it may go when its source changes.
  var isRead = false
}

/// One ascending list of rows per token, on a card.
package final class CUDARows {
  package let universe: Int
  /// Whether nearly no listed neuron turns out to be zero.
  let isPrecise: Bool
  /// Number of the launch that writes the lists last.
  var writer = -2
  /// Bits of the rows above the threshold that became the list, and the number of the launch that wrote them.
  var marks: (bits: dv_address, writer: Int)?
  private let device: CUDADevice
  /// int32 `[tokens]` counts, then `[tokens, universe]` lists.
  private(set) var memory: DeviceMemory?
  private(set) var tokens = 0
  /// What the host assigns to every token: a count, then the list.
  private var source: PinnedMemory?
  /// The step that reads `source`.
  var sourceStep = -1

  init(_ device: CUDADevice, universe: Int, isPrecise: Bool) {
    self.device = device
    self.universe = universe
    self.isPrecise = isPrecise
  }

  /// Makes room for lists of so many tokens.
  ///
  /// - Returns: memory that is no longer used once the stream is empty.
  func reserve(tokens wanted: Int) throws(BackendError) -> DeviceMemory? {
    guard wanted > tokens else { return nil }
    let old = memory
    memory = try DeviceMemory(
      device, byteCount: 4 * wanted * (universe + 1), what: "lists of rows")
    memory?.clear()
    tokens = wanted
    return old
  }

  var counts: dv_address { memory?.address ?? 0 }
  var lists: dv_address { counts + dv_address(4 * tokens) }

  /// The bits that the lists come from, where launch number `reader` is the next behind the one that writes the
  /// lists, and bits were there before.
  func bits(for reader: Int) -> dv_address {
    guard let marks, reader - writer == 1, reader - marks.writer >= 2 else { return 0 }
    return marks.bits
  }

  /// The lists as launch number `reader` finds them: one that was written by the launch right
  /// before must be awaited.
  func choice(for reader: Int) -> dv_choice {
    dv_choice(
      count: counts, list: lists, all: Int32(universe), stride: Int32(universe),
      early: reader - writer >= 2 ? 1 : 0, unused: 0)
  }

  /// The host's list for all tokens, in memory that the card reads.
  func hostList(_ indices: [Int32]) throws(BackendError) -> dv_address {
    let pinned: PinnedMemory
    if let source {
      pinned = source
    } else {
      pinned = try PinnedMemory(device, byteCount: 4 * (universe + 1), what: "a list")
      source = pinned
    }
    pinned.base.storeBytes(of: Int32(indices.count), as: Int32.self)
    indices.withUnsafeBytes {
      guard let from = $0.baseAddress else { return }
      (pinned.base + 4).copyMemory(from: from, byteCount: $0.count)
    }
    return pinned.address
  }

  /// Sets every token's list at once, outside of any step.
  package func assign(lists rows: [[Int32]]) throws(BackendError) {
    _ = try reserve(tokens: rows.count)
    try copy(lists: rows)
  }

  /// The same where there is room already.
  func copy(lists rows: [[Int32]]) throws(BackendError) {
    let counts = rows.map { Int32($0.count) }
    counts.withUnsafeBytes { bytes in
      if let from = bytes.baseAddress { device.copy(from, to: self.counts, bytes: bytes.count) }
    }
    for (token, row) in rows.enumerated() {
      row.withUnsafeBytes { bytes in
        guard let from = bytes.baseAddress else { return }
        device.copy(from, to: lists + dv_address(4 * token * universe), bytes: bytes.count)
      }
    }
    try device.throwFailure()
  }

  /// A token's list, when all that was put into the stream is done.
  func list(of token: Int) -> [Int32] {
    var count: Int32 = 0
    device.fetch(counts + dv_address(4 * token), to: &count, bytes: 4)
    device.wait()
    guard count > 0, Int(count) <= universe else { return [] }
    return [Int32](unsafeUninitializedCapacity: Int(count)) { buffer, used in
      guard let base = buffer.baseAddress else { return }
      device.fetch(
        lists + dv_address(4 * token * universe), to: UnsafeMutableRawPointer(base),
        bytes: 4 * Int(count))
      device.wait()
      used = Int(count)
    }
  }
}
