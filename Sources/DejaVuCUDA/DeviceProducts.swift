import CDejaVuCUDA
package import DejaVuCore

/// A large product by the library that multiplies prompts: what a card's tensor cores give.
package struct DeviceProducts {
  /// Rows, columns and tokens.
  private static let size = 8192

  private let backend: CUDABackend
  private let products: MatrixProducts
  private let type: DType
  private let memory: DeviceMemory
  private let list = LaunchList(capacity: 1 << 10)

  /// Random factors in the type of the model's products; nil where no library multiplies.
  ///
  /// - Throws: ``BackendError`` where the card has no room.
  package init?(_ backend: CUDABackend) throws(BackendError) {
    guard let products = backend.products else { return nil }
    self.backend = backend
    self.products = products
    type = backend.model.layers.first?.query.format.dtype ?? .float16
    let elements = Self.size * Self.size
    memory = try DeviceMemory(
      backend.device, byteCount: (2 * type.size + 4) * elements, what: "a large product")
    // Zeros would take less power than what prompts are made of.
    list.append(
      backend.module.function(.fillRows, KernelType(type)),
      threads: Kernel.fillRows.shape.threads, grid: Grid(8 * backend.device.multiprocessors),
      sharedBytes: 0,
      dv_fill_arguments(
        to: memory.address, seed: 1, rows: dv_address(2 * Self.size), columns: Int32(Self.size),
        stride: Int32(Self.size), constant: 0, spread: 0.05))
    list.run(on: backend.device)
  }

  /// TFLOP/s of eight such products.
  ///
  /// - Throws: ``BackendError`` where the device or the library failed.
  package func sample() throws(BackendError) -> Double {
    let (device, size) = (backend.device, Self.size)
    let bytes = dv_address(type.size * size * size)
    let places = ProductCall(
      weights: memory.address, inputs: memory.address + bytes, bias: 0,
      outputs: memory.address + 2 * bytes, keeps: 0)
    let shape = ProductShape(
      sumsRows: false, sumsInputRows: false, tokens: size, outputs: size, terms: size,
      weightStride: size, inputStride: size, outputStride: size, type: type, outputType: type,
      computeType: .float32, hasBias: false, epilogue: .plain, alignments: [256, 256, 256])
    let plan = try products.plan(shape, bias: 0)
    list.removeAll()
    for _ in 0..<8 { list.append(plan, places) }
    let (first, last) = (device.makeEvent(), device.makeEvent())
    defer { for case let event? in [first, last] { _ = device.driver.release_event?(event) } }
    device.record(first)
    list.run(on: device)
    device.record(last)
    let milliseconds = device.milliseconds(from: first, to: last)
    try device.throwFailure()
    return 8 * Double(shape.operations) / milliseconds / 1e9
  }
}
