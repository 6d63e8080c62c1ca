import CDejaVuCUDA
import CDejaVuEmulation
import DejaVuCUDA
import DejaVuCore
import DejaVuTestSupport
import Foundation

/// Backends on the card of this machine where `DEJAVU_TEST_CARD` asks for it, else on an emulated
/// one, which runs the same kernels' text.
enum TestCard {
  static let isReal = ProcessInfo.processInfo.environment["DEJAVU_TEST_CARD"] == "1"

  /// A backend; `multiplies` says whether NVIDIA's products are used, of which an emulated card has emulated
  /// ones, or `products`.
  static func backend(
    _ model: PackedModel, _ options: CUDAOptions = CUDAOptions(batchCapacity: 64),
    multiplies: Bool = false, products: ProductLibrary? = nil
  ) throws -> CUDABackend {
    var options = options
    options.multipliesByLibrary = multiplies || products != nil
    if isReal {
      let device = try CUDADevice()
      return try CUDABackend(
        weights: DeviceModel(uploading: model, to: device),
        module: KernelStore().module(
          for: CUDABackend.kernelOptions(of: model, on: device, options), on: device),
        options: options)
    }
    let device = try emulated(products: products ?? (multiplies ? emulatedProducts() : nil))
    let kernels = CUDABackend.kernelOptions(of: model, on: device, options)
    // Blocks run one after the other and cannot wait for each other: one has all columns.
    if options.renewedColumns > 0 { options.renewedColumns = 1024 }
    guard
      let image = dejavu_emulated_module(
        Int32(kernels.cacheType.size), Int32(kernels.headChunks),
        Int32(kernels.groups?.size ?? 0), kernels.groups?.haveZeros == true ? 1 : 0)
    else {
      throw BackendError.unavailable(backend: "CUDA", reason: "no emulated kernels for \(kernels)")
    }
    return try CUDABackend(
      weights: DeviceModel(uploading: model, to: device),
      module: KernelModule(device, image: image, hasCodes: kernels.groups != nil),
      options: options)
  }

  /// An emulated card, whose memory the host can read.
  static func emulated(products: ProductLibrary? = nil) throws -> CUDADevice {
    var driver = dejavu_driver()
    dejavu_emulated_driver(&driver)
    return try CUDADevice(driver: driver, products: products)
  }

  private static func emulatedProducts() -> ProductLibrary {
    var functions = dejavu_blaslt()
    dejavu_emulated_products(&functions)
    return ProductLibrary(functions: functions, path: "emulated")
  }
}

extension Candidate<CUDABackend> {
  init(_ backend: CUDABackend) {
    self.init(backend) { universe, lists in
      let rows = backend.makeRows(universe: universe)
      do {
        try rows.assign(lists: lists)
      } catch {
        preconditionFailure("lists of rows find no memory: \(error)")
      }
      return rows
    }
  }
}
