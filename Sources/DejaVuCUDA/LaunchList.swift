import CDejaVuCUDA
import DejaVuCore
import Foundation

/// How many blocks a launch has, along three axes.
struct Grid {
  var x: Int
  var y = 1
  var z = 1

  init(_ x: Int, _ y: Int = 1, _ z: Int = 1) { (self.x, self.y, self.z) = (x, y, z) }
}

/// Launches in order, as bytes: a step can be compared with an earlier one, run, and recorded.
///
/// Arguments hold addresses and shapes, and nothing that changes from token to token, so that equal
/// bytes mean an equal step.
final class LaunchList {
  private struct Header {
    let function: dejavu_handle
    let x: UInt32
    let y: UInt32
    let z: UInt32
    let threads: UInt32
    let sharedBytes: UInt32
    let argumentBytes: UInt32
    /// 1 where the kernel waits for its inputs itself.
    let awaits: UInt32
  }

  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  private(set) var byteCount = 0
  private(set) var count = 0

  init(capacity: Int = 1 << 18) {
    self.capacity = capacity
    base = .allocate(byteCount: capacity, alignment: 16)
  }

  deinit { base.deallocate() }

  func removeAll() { (byteCount, count) = (0, 0) }

  func append<Arguments: BitwiseCopyable>(
    _ function: dejavu_handle, threads: Int, grid: Grid, sharedBytes: Int, awaits: Bool = false,
    _ arguments: Arguments
  ) {
    let size = (MemoryLayout<Arguments>.size + 15) / 16 * 16
    let header = (MemoryLayout<Header>.size + 15) / 16 * 16
    reserve(byteCount + header + size)
    let at = base + byteCount
    // Padding is part of the comparison.
    at.initializeMemory(as: UInt8.self, repeating: 0, count: header + size)
    at.storeBytes(
      of: Header(
        function: function, x: UInt32(grid.x), y: UInt32(grid.y), z: UInt32(grid.z),
        threads: UInt32(threads), sharedBytes: UInt32(sharedBytes), argumentBytes: UInt32(size),
        awaits: awaits ? 1 : 0),
      as: Header.self)
    (at + header).storeBytes(of: arguments, as: Arguments.self)
    byteCount += header + size
    count += 1
  }

  /// Appends a library's product; the plan must outlive the list's use of it.
  func append(_ plan: ProductPlan, _ places: ProductCall) {
    // A launch without blocks.
    append(
      Unmanaged.passUnretained(plan).toOpaque(), threads: 0, grid: Grid(0), sharedBytes: 0, places)
  }

  private func reserve(_ bytes: Int) {
    guard bytes > capacity else { return }
    let grown = UnsafeMutableRawPointer.allocate(byteCount: 2 * bytes, alignment: 16)
    grown.copyMemory(from: base, byteCount: byteCount)
    base.deallocate()
    (base, capacity) = (grown, 2 * bytes)
  }

  func isEqual(to other: LaunchList) -> Bool {
    byteCount == other.byteCount && memcmp(base, other.base, byteCount) == 0
  }

  func copy() -> LaunchList {
    let other = LaunchList(capacity: max(byteCount, 16))
    other.base.copyMemory(from: base, byteCount: byteCount)
    (other.byteCount, other.count) = (byteCount, count)
    return other
  }

  /// Puts every launch into the device's stream, or into the graph that the stream is captured for.
  ///
  /// A kernel that waits for its inputs itself may start beside the launch ahead of it in the list.
  func run(on device: CUDADevice) {
    guard device.failure == nil else { return }
    let size = (MemoryLayout<Header>.size + 15) / 16 * 16
    var overlap = dejavu_launch_attribute()
    overlap.id = Int32(dejavu_overlapping_launch)
    overlap.value = 1
    let end = base + byteCount
    withUnsafePointer(to: overlap) { overlap in
      var at = base
      while at < end {
        let header = at.load(as: Header.self)
        defer { at += size + Int(header.argumentBytes) }
        guard header.x > 0 else {
          let plan = Unmanaged<ProductPlan>.fromOpaque(header.function).takeUnretainedValue()
          device.check(
            product: plan.run((at + size).load(as: ProductCall.self), stream: device.stream))
          continue
        }
        var config = dejavu_launch_config()
        (config.grid_x, config.grid_y, config.grid_z) = (header.x, header.y, header.z)
        (config.block_x, config.block_y, config.block_z) = (header.threads, 1, 1)
        config.shared_bytes = header.sharedBytes
        config.stream = device.stream
        if at > base, header.awaits == 1, device.overlapsLaunches {
          (config.attributes, config.count) = (overlap, 1)
        }
        var arguments: UnsafeMutableRawPointer? = at + size
        let status = withUnsafeMutablePointer(to: &arguments) {
          device.driver.launch?(&config, header.function, $0, nil)
        }
        guard status == 0 else { return device.check(status, "a kernel was refused") }
      }
    }
  }
}

/// A step that is replayed whole.
final class RecordedStep {
  let launches: LaunchList
  private let device: CUDADevice
  private let graph: dejavu_handle
  /// Kernels in the graph.
  let nodes: Int

  /// Records launches; nil, and a failure of the device, where it cannot.
  init?(_ launches: LaunchList, on device: CUDADevice) {
    let driver = device.driver
    device.check(
      driver.begin_capture?(device.stream, Int32(dejavu_relaxed_capture)), "no step is recorded")
    launches.run(on: device)
    var (captured, graph): (dejavu_handle?, dejavu_handle?) = (nil, nil)
    device.check(driver.end_capture?(device.stream, &captured), "a step cannot be recorded")
    guard device.failure == nil, let captured else { return nil }
    defer { _ = driver.release_graph?(captured) }
    var nodes = 0
    device.check(driver.count_nodes?(captured, nil, &nodes), "a recorded step has no kernels")
    device.check(driver.instantiate?(&graph, captured, 0), "a recorded step cannot be made ready")
    guard device.failure == nil, let graph else { return nil }
    self.launches = launches
    self.device = device
    self.graph = graph
    self.nodes = nodes
  }

  deinit { _ = device.driver.release_graph_exec?(graph) }

  func replay() {
    guard device.failure == nil else { return }
    device.check(device.driver.launch_graph?(graph, device.stream), "a step cannot be replayed")
  }
}
