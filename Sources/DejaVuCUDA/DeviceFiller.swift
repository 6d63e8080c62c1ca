import CDejaVuCUDA
package import DejaVuCore

/// Makes random weights on a card, where a host could not hold them.
package final class DeviceFiller {
  private let device: CUDADevice
  private let module: KernelModule
  /// Zeroed, so that padding is zeros.
  package let memory: DeviceMemory
  private let list = LaunchList(capacity: 256)

  /// - Throws: ``BackendError/outOfMemory(what:bytes:)`` before anything is allocated.
  package init(_ device: CUDADevice, byteCount: Int, options: KernelOptions) throws(BackendError) {
    try DeviceModel.requireRoom(byteCount, on: device)
    self.device = device
    module = try KernelStore().module(for: options, on: device)
    memory = try DeviceMemory(device, byteCount: byteCount, what: "synthetic weights")
    memory.clear()
  }

  /// Fills rows of a tensor; element (r, c) is number r · columns + c of the recipe.
  ///
  /// - Parameters:
  ///   - offset: bytes from the start of the memory to the first row.
  ///   - dtype: what elements are stored in.
  ///   - rows: how many rows.
  ///   - columns: elements of a row that are filled.
  ///   - stride: elements from one row to the next.
  ///   - numbers: what elements are drawn from.
  package func fill(
    offset: Int, dtype: DType, rows: Int, columns: Int, stride: Int,
    numbers: (constant: Float, spread: Float, seed: UInt64)
  ) {
    list.removeAll()
    list.append(
      module.function(.fillRows, KernelType(dtype)), threads: Kernel.fillRows.shape.threads,
      grid: Grid(8 * device.multiprocessors), sharedBytes: 0,
      dv_fill_arguments(
        to: memory.address + dv_address(offset), seed: numbers.seed, rows: dv_address(rows),
        columns: Int32(columns), stride: Int32(stride), constant: numbers.constant,
        spread: numbers.spread))
    list.run(on: device)
  }

  /// Fills every `step`-th row of a tensor with random codes and one scale for all groups.
  ///
  /// - Parameters:
  ///   - offset: bytes from the start of the memory to the tensor's first row.
  ///   - format: what rows are stored in.
  ///   - rows: how many rows are filled.
  ///   - columns: elements of a row.
  ///   - step: the number of the first row that is filled, and rows from one to the next.
  ///   - numbers: what codes and the scale are drawn from.
  package func fill(
    offset: Int, format: GroupwiseFormat, rows: Int, columns: Int,
    every step: (first: Int, step: Int), numbers: (spread: Float, seed: UInt64)
  ) {
    list.removeAll()
    list.append(
      module.function(.fillCodes, .float32), threads: Kernel.fillCodes.shape.threads,
      grid: Grid(8 * device.multiprocessors), sharedBytes: 0,
      dv_fill_codes_arguments(
        to: memory.address + dv_address(offset), seed: numbers.seed, rows: dv_address(rows),
        row_stride: Int32(GroupwiseFormat.cardStride(format.rowBytes(columns))),
        code_bytes: Int32(format.codeBytes(columns)), groups: Int32(format.groups(columns)),
        first_row: Int32(step.first), row_step: Int32(step.step),
        scale: numbers.spread / Float(1 << format.bits)))
    list.run(on: device)
  }

  /// Waits until everything is filled.
  package func finish() throws(BackendError) {
    device.wait()
    try device.throwFailure()
  }
}

/// Reads weights and keeps nothing: what a card's memory gives.
package struct DeviceBandwidth {
  private let backend: CUDABackend
  private let sink: DeviceMemory

  package init(_ backend: CUDABackend) throws(BackendError) {
    self.backend = backend
    sink = try DeviceMemory(backend.device, byteCount: 16, what: "a sum")
  }

  /// Gigabytes per second of reading the weights of all layers once, at most 32 GB of them.
  package func sample() throws(BackendError) -> Double {
    let device = backend.device
    let list = LaunchList(capacity: 1 << 14)
    var bytes = 0
    for layer in backend.model.layers {
      for matrix in [layer.bundle.matrix, layer.output] where bytes < 32 << 30 {
        let size = matrix.rows * matrix.stride
        list.append(
          backend.module.function(.readMemory, .float32),
          threads: Kernel.readMemory.shape.threads, grid: Grid(2 * device.multiprocessors),
          sharedBytes: 0,
          dv_read_arguments(
            from: matrix.address, out: sink.address, pieces: dv_address(size / 16)))
        bytes += size
      }
    }
    let (first, last) = (device.makeEvent(), device.makeEvent())
    defer { for case let event? in [first, last] { _ = device.driver.release_event?(event) } }
    device.record(first)
    list.run(on: device)
    device.record(last)
    let milliseconds = device.milliseconds(from: first, to: last)
    try device.throwFailure()
    return Double(bytes) / milliseconds / 1e6
  }
}
