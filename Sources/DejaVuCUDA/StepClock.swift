import CDejaVuCUDA
import DejaVuCore

/// The card's own clock around one step after the other.
final class StepClock {
  private let device: CUDADevice
  private let first: dejavu_handle?
  private let last: dejavu_handle?

  init(_ device: CUDADevice) {
    self.device = device
    (first, last) = (device.makeEvent(), device.makeEvent())
  }

  deinit { for case let event? in [first, last] { _ = device.driver.release_event?(event) } }

  func start() { device.record(first) }
  func stop() { device.record(last) }

  /// Of the last step, once it has ended.
  var milliseconds: Double { device.milliseconds(from: first, to: last) }
}
