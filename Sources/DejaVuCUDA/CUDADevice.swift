package import CDejaVuCUDA
package import DejaVuCore

/// A card: its driver, one context and one stream.
///
/// Failures are sticky: after the first nothing is done any more, and ``throwFailure()`` says what
/// it was. Not thread-safe.
package final class CUDADevice {
  let driver: dejavu_driver
  package let name: String
  /// Compute capability in tenths.
  package let capability: Int
  package let multiprocessors: Int
  /// The newest CUDA that the driver knows, in thousands: 13000 is 13.0.
  package let driverVersion: Int
  /// Whether a launch may start before the one ahead of it has ended, in graphs too.
  let overlapsLaunches: Bool
  /// NVIDIA's products of matrices; nil where there are none.
  package let products: ProductLibrary?
  /// Shared memory that one block may ask for.
  var blockSharedBytes: Int {
    capability >= 90 ? 227 << 10 : capability == 80 ? 163 << 10 : 99 << 10
  }
  private let ordinal: Int32
  let stream: dejavu_handle
  private(set) var failure: BackendError?
  /// Pieces of memory that were given back: while it stays the same, addresses mean what they meant.
  var releases = 0

  /// Opens the first card.
  ///
  /// - Parameters:
  ///   - table: a table of the driver's functions; nil looks for the installed one.
  ///   - library: products of matrices beside a driver that is given; an installed driver looks for its own.
  /// - Throws: ``BackendError/unavailable(backend:reason:)`` where there is no driver or no card.
  package init(
    driver table: dejavu_driver? = nil, products library: ProductLibrary? = nil
  ) throws(BackendError) {
    let driver: dejavu_driver
    if let table { driver = table } else { driver = try Self.installed() }
    guard driver.start?(0) == 0 else {
      throw Self.unavailable("the driver found no card; see whether 'nvidia-smi' lists one")
    }
    var (count, version, ordinal) = (Int32(0), Int32(0), Int32(0))
    guard driver.device_count?(&count) == 0, count > 0, driver.device?(&ordinal, 0) == 0 else {
      throw Self.unavailable("this machine has no NVIDIA card, or CUDA_VISIBLE_DEVICES hides it")
    }
    _ = driver.version?(&version)
    var text = [CChar](repeating: 0, count: 256)
    _ = driver.device_name?(&text, 255, ordinal)
    let attribute = { (which: dejavu_device_attribute) -> Int in
      var value: Int32 = 0
      _ = driver.device_attribute?(&value, Int32(which.rawValue), ordinal)
      return Int(value)
    }
    name = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    capability = 10 * attribute(dejavu_capability_major) + attribute(dejavu_capability_minor)
    multiprocessors = max(attribute(dejavu_multiprocessors), 1)
    driverVersion = Int(version)
    overlapsLaunches = capability >= 90 && version >= 12030
    guard capability >= 80 else {
      throw Self.unavailable(
        "\(name) has compute capability \(capability / 10).\(capability % 10); 8.0 is needed")
    }
    var (context, stream): (dejavu_handle?, dejavu_handle?) = (nil, nil)
    guard driver.retain_context?(&context, ordinal) == 0, driver.set_context?(context) == 0,
      driver.make_stream?(&stream, 1) == 0, let stream
    else { throw Self.unavailable("\(name) gives no context; another program may hold it") }
    self.driver = driver
    self.ordinal = ordinal
    self.stream = stream
    self.context = context
    products = table == nil ? ProductLibrary.find() : library
  }

  private let context: dejavu_handle?

  deinit {
    _ = driver.wait_stream?(stream)
    _ = driver.release_stream?(stream)
    _ = driver.release_context?(ordinal)
  }

  private static func installed() throws(BackendError) -> dejavu_driver {
    var table = dejavu_driver()
    if let missing = dejavu_driver_load(nil, &table) {
      throw unavailable(
        "NVIDIA's driver is not installed: \(String(cString: missing)) was not found")
    }
    return table
  }

  static func unavailable(_ reason: String) -> BackendError {
    .unavailable(backend: "CUDA", reason: reason)
  }

  /// Makes the card's context that of the calling thread; cheap where it is already.
  package func enter() { check(driver.set_context?(context), "its context cannot be entered") }

  /// Notes the first failure.
  func check(_ status: Int32?, _ what: @autoclosure () -> String) {
    guard status != 0, failure == nil else { return }
    var text: UnsafePointer<CChar>?
    _ = driver.describe_error?(status ?? -1, &text)
    let words = text.map { String(cString: $0) } ?? "error \(status ?? -1)"
    failure = Self.unavailable("\(what()): \(words)")
  }

  /// Notes what a library answered that has no words for it.
  func check(product status: Int32) {
    guard status != 0, failure == nil else { return }
    failure = Self.unavailable(
      "cuBLASLt refused a product (\(status)); \(ProductLibrary.variable)=off does without it")
  }

  /// - Throws: the first failure since the device was opened.
  package func throwFailure() throws(BackendError) {
    if let failure { throw failure }
  }

  /// Bytes of the card's memory that are free now.
  package var freeBytes: Int {
    var (free, total) = (0, 0)
    check(driver.memory_info?(&free, &total), "its memory cannot be asked")
    return free
  }

  func wait() {
    guard failure == nil else { return }
    check(driver.wait_stream?(stream), "a kernel failed")
  }

  /// Waits for an event, and for nothing behind it.
  func wait(for event: dejavu_handle?) {
    guard failure == nil, let event else { return }
    check(driver.wait_event?(event), "a kernel failed")
  }

  /// Copies to the card; returns when `from` may be changed.
  func copy(_ from: UnsafeRawPointer, to: dv_address, bytes: Int) {
    guard failure == nil, bytes > 0 else { return }
    check(driver.copy_in?(to, from, bytes, stream), "a copy to the card failed")
    wait()
  }

  /// Copies to the card beside what the host does; `from` must be pinned and left alone.
  func copyLater(_ from: UnsafeRawPointer, to: dv_address, bytes: Int) {
    guard failure == nil, bytes > 0 else { return }
    check(driver.copy_in?(to, from, bytes, stream), "a copy to the card failed")
  }

  /// Copies from the card when all before it is done; nothing is there before ``wait()``.
  func fetch(_ from: dv_address, to: UnsafeMutableRawPointer, bytes: Int) {
    guard failure == nil, bytes > 0 else { return }
    check(driver.copy_out?(to, from, bytes, stream), "a copy from the card failed")
  }

  /// A new event, for timing or for waiting.
  func makeEvent() -> dejavu_handle? {
    var event: dejavu_handle?
    check(driver.make_event?(&event, 0), "no event could be made")
    return event
  }

  func record(_ event: dejavu_handle?) {
    guard failure == nil, let event else { return }
    check(driver.record_event?(event, stream), "an event could not be recorded")
  }

  /// Milliseconds between two events, once both have happened.
  func milliseconds(from first: dejavu_handle?, to last: dejavu_handle?) -> Double {
    guard failure == nil, let first, let last else { return 0 }
    var elapsed: Float = 0
    check(driver.wait_event?(last), "an event never came")
    check(driver.elapsed?(&elapsed, first, last), "events have no time between them")
    return Double(elapsed)
  }
}
