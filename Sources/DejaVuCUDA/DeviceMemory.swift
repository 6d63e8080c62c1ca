import CDejaVuCUDA
import DejaVuCore

/// Memory of a card, freed with its owner.
package final class DeviceMemory {
  let device: CUDADevice
  let address: dv_address
  package let byteCount: Int

  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  init(_ device: CUDADevice, byteCount: Int, what: String) throws(BackendError) {
    var address: dv_address = 0
    let bytes = max(byteCount, 16)
    guard device.driver.allocate?(&address, bytes) == 0, address != 0 else {
      throw .outOfMemory(what: "\(what) on \(device.name)", bytes: bytes)
    }
    self.device = device
    self.address = address
    self.byteCount = bytes
  }

  deinit {
    device.releases += 1
    _ = device.driver.release?(address)
  }

  /// Where the memory lies on the card.
  package var deviceAddress: UInt64 { address }

  /// Sets every byte to zero, in the stream.
  func clear() {
    guard device.failure == nil else { return }
    device.check(
      device.driver.fill?(address, 0, byteCount, device.stream), "memory cannot be cleared")
  }
}

/// Memory of the host that the card reads and writes at full speed.
final class PinnedMemory {
  let device: CUDADevice
  let base: UnsafeMutableRawPointer
  let byteCount: Int

  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  init(_ device: CUDADevice, byteCount: Int, what: String) throws(BackendError) {
    var memory: dejavu_handle?
    guard device.driver.allocate_host?(&memory, max(byteCount, 16)) == 0, let memory else {
      throw .outOfMemory(what: "\(what) in pinned memory", bytes: byteCount)
    }
    self.device = device
    self.byteCount = max(byteCount, 16)
    base = memory
  }

  deinit {
    device.releases += 1
    _ = device.driver.release_host?(base)
  }

  /// Where the card sees it: at the host's own address.
  var address: dv_address { dv_address(UInt(bitPattern: base)) }
}
