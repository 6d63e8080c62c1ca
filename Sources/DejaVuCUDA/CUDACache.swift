import CDejaVuCUDA
package import DejaVuCore

/// Sizes that all caches of one backend share.
struct CUDACacheLayout {
  let layers: Int
  let groups: Int
  let paddedHead: Int
  let dtype: DType
  /// Elements of one kept input, in the cache's type.
  let keptStride: Int
  var keptBytes: Int { keptStride * dtype.size }

  /// Bytes of keys, or of values, of one layer.
  func planeBytes(_ capacity: Int) -> Int { groups * capacity * paddedHead * dtype.size }
}

/// Keys and values of one sequence on a card, `[layer][group, position, width]`; and the inputs
/// kept for groups that owe keys and values.
package final class CUDACache: SequenceCache {
  let layout: CUDACacheLayout
  package let capacity: Int
  /// Positions whose inputs are kept; 0 computes keys and values of every group at once.
  let window: Int
  package private(set) var count = 0
  private let context: CacheContext
  private let keys: DeviceMemory
  private let values: DeviceMemory
  /// `[layer][window, keptStride]` in the cache's type.
  private let keptMemory: DeviceMemory?
  /// int32 `[layer][group]`, the first position whose key and value are not stored; then the same as
  /// it was before the step.
  private let settledMemory: DeviceMemory

  init(
    _ context: CacheContext, layout: CUDACacheLayout, capacity: Int, window: Int
  ) throws(BackendError) {
    self.context = context
    self.layout = layout
    self.capacity = capacity
    self.window = window
    let device = context.device
    let bytes = layout.layers * layout.planeBytes(max(capacity, 1))
    keys = try DeviceMemory(device, byteCount: bytes, what: "the key cache")
    values = try DeviceMemory(device, byteCount: bytes, what: "the value cache")
    keptMemory =
      window > 0
      ? try DeviceMemory(
        device, byteCount: layout.layers * window * layout.keptBytes, what: "kept inputs")
      : nil
    settledMemory = try DeviceMemory(
      device, byteCount: 2 * 4 * layout.layers * layout.groups, what: "the cache's debts")
    // Lanes behind a head's width are multiplied with zeros and must be numbers.
    for memory in [keys, values, settledMemory] { memory.clear() }
    keptMemory?.clear()
  }

  deinit { context.forget(self) }

  package func truncate(to count: Int) {
    precondition(count >= 0 && count <= self.count, "cannot cut \(self.count) back to \(count)")
    context.forgetAhead(of: self)
    self.count = count
    let entries = layout.layers * layout.groups
    context.launch(
      .clipSettled, Grid((entries + 255) / 256),
      dv_clip_arguments(
        settled: settledMemory.address, entries: Int32(entries), count: Int32(count)))
  }

  package func fork(capacity: Int) throws(BackendError) -> CUDACache {
    guard capacity >= count else { throw .contextExceeded(needed: count, limit: capacity) }
    context.forgetAhead(of: self)
    let copy = try CUDACache(context, layout: layout, capacity: capacity, window: window)
    let pieces = layout.paddedHead * layout.dtype.size / 16
    for (from, to) in [(keys, copy.keys), (values, copy.values)] where count > 0 {
      context.launch(
        .forkPlanes, Grid(min((count * pieces + 255) / 256, 64), layout.layers * layout.groups),
        dv_fork_arguments(
          from: from.address, to: to.address, from_stride: Int32(self.capacity * pieces),
          to_stride: Int32(capacity * pieces), pieces: Int32(count * pieces), unused: 0))
    }
    for (from, to) in [(settledMemory, copy.settledMemory), (keptMemory, copy.keptMemory)]
      as [(DeviceMemory?, DeviceMemory?)]
    {
      guard let from, let to else { continue }
      context.copy(from.address, to: to.address, bytes: from.byteCount)
    }
    copy.count = count
    try context.device.throwFailure()
    return copy
  }

  /// Holds `count` positions of zeros: for measuring speed, where no prompt was computed.
  package func skip(to count: Int) {
    precondition(count <= capacity, "\(count) positions in a cache of \(capacity)")
    context.forgetAhead(of: self)
    self.count = count
    let entries = [Int32](repeating: Int32(count), count: layout.layers * layout.groups)
    entries.withUnsafeBytes {
      guard let base = $0.baseAddress else { return }
      context.device.copy(base, to: settledMemory.address, bytes: $0.count)
    }
  }

  /// What all layers have settled, and where a step saves it.
  var debts: (settled: dv_address, saved: dv_address, entries: Int) {
    let entries = layout.layers * layout.groups
    return (settledMemory.address, settledMemory.address + dv_address(4 * entries), entries)
  }

  /// Undoes what a step settled that should not have run: what it stored is written again before it
  /// is read.
  func restoreDebts() {
    guard window > 0 else { return }
    let (settled, saved, entries) = debts
    context.copy(saved, to: settled, bytes: 4 * entries)
  }

  /// Called when a step has written `tokens` more positions in every layer.
  func grow(by tokens: Int) { count += tokens }

  func keys(layer: Int) -> dv_address {
    keys.address + dv_address(layer * layout.planeBytes(capacity))
  }
  func values(layer: Int) -> dv_address {
    values.address + dv_address(layer * layout.planeBytes(capacity))
  }
  func settled(layer: Int) -> dv_address {
    settledMemory.address + dv_address(4 * layer * layout.groups)
  }
  func kept(layer: Int) -> dv_address {
    keptMemory.map { $0.address + dv_address(layer * window * layout.keptBytes) } ?? 0
  }

  /// Keys and values owed over all layers, groups and positions.
  package var debt: Int {
    context.forgetAhead(of: self)
    let entries = layout.layers * layout.groups
    var first = [Int32](repeating: 0, count: entries)
    first.withUnsafeMutableBytes {
      guard let base = $0.baseAddress else { return }
      context.device.fetch(settledMemory.address, to: base, bytes: $0.count)
    }
    context.device.wait()
    return first.reduce(0) { $0 + count - Int($1) }
  }
}

/// What caches need of their backend when they are cut or copied between steps.
final class CacheContext {
  let device: CUDADevice
  /// The step that runs before anybody asked for it, and on which cache.
  var ahead: AheadStep?
  weak var aheadCache: CUDACache?
  /// Steps that ran ahead and were not asked for.
  private(set) var surplus = 0
  private let module: KernelModule
  private let list = LaunchList(capacity: 256)

  init(_ device: CUDADevice, module: KernelModule) {
    self.device = device
    self.module = module
  }

  /// Undoes the step ahead: its cache has not grown, and owes what it owed.
  func forgetAhead() {
    guard ahead != nil else { return }
    (ahead, surplus) = (nil, surplus + 1)
    aheadCache?.restoreDebts()
  }

  /// The same for one cache, before it is looked at or changed.
  func forgetAhead(of cache: CUDACache) {
    if ahead != nil, aheadCache === cache { forgetAhead() }
  }

  /// A cache goes: no step may still write to it.
  func forget(_ cache: CUDACache) {
    guard ahead?.key.cache == ObjectIdentifier(cache) else { return }
    (ahead, surplus) = (nil, surplus + 1)
    device.wait()
  }

  /// Puts one kernel into the stream.
  func launch<Arguments: BitwiseCopyable>(_ kernel: Kernel, _ grid: Grid, _ arguments: Arguments) {
    device.enter()
    list.removeAll()
    list.append(
      module.function(kernel, .float32), threads: kernel.shape.threads, grid: grid, sharedBytes: 0,
      arguments)
    list.run(on: device)
  }

  func copy(_ from: dv_address, to: dv_address, bytes: Int) {
    guard device.failure == nil else { return }
    device.check(
      device.driver.copy_inside?(to, from, bytes, device.stream), "a cache cannot be copied")
  }
}
