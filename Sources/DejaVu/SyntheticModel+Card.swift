package import DejaVuCUDA
package import DejaVuCore
import DejaVuFormats

extension SyntheticModel {
  /// The same random weights made on a card, vectors without rounding to the checkpoint's type.
  ///
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)`` where they do not fit, before anything is
  ///   allocated.
  package static func make(
    shape: ModelShape, options: Options, on device: CUDADevice, cuda: CUDAOptions
  ) throws(BackendError) -> DeviceModel {
    let architecture = shape.architecture
    let weights = SyntheticWeights(architecture: architecture, options: options)
    let layout = PackedLayout(
      architecture: architecture,
      types: Self.types(options, layers: architecture.layers))
    let formats = layout.entries.map(\.format)
    try requireAligned(layout)
    let kernels = KernelOptions(
      capability: device.capability,
      cacheType: cuda.cacheType ?? (options.dtype == .float32 ? .float32 : .float16),
      paddedHead: Padding.head(architecture.headWidth), groups: CodeGroups.first(of: formats))
    let filler = try DeviceFiller(device, byteCount: layout.byteCount, options: kernels)
    let views = Dictionary(
      WeightMap.plan(for: architecture).map { ($0.role, $0.view) }, uniquingKeysWith: { $1 })
    for entry in layout.entries {
      let (roles, width) = (entry.roles, entry.shape[entry.shape.count - 1])
      let isVector = entry.shape.count == 1
      let rows = isVector ? 1 : entry.shape.dropLast().reduce(1, *) / roles.count
      for (part, role) in roles.enumerated() {
        guard let view = views[role] else { preconditionFailure("no weight fills \(entry.name)") }
        let recipe = weights.recipe(for: role)
        if let format = entry.format.groupwise {
          filler.fill(
            offset: entry.offset, format: format, rows: rows, columns: view.columns,
            every: (first: part, step: roles.count), numbers: (recipe.spread, recipe.seed))
          continue
        }
        filler.fill(
          offset: entry.offset + part * entry.rowBytes, dtype: entry.dtype, rows: rows,
          columns: isVector ? view.rows : view.columns, stride: width * roles.count,
          numbers: (recipe.constant, recipe.spread, recipe.seed))
      }
    }
    try filler.finish()
    let memory = filler.memory
    let model = layout.model(owner: memory) { entry in
      guard
        let base = UnsafeRawPointer(bitPattern: UInt(memory.deviceAddress) + UInt(entry.offset))
      else { preconditionFailure("memory lies behind address 0") }
      return base
    }
    return DeviceModel(device, weights: model, byteCount: layout.byteCount)
  }

  /// Weights that are made on a card lie there as they lie in a file, and rows of codes are read 16
  /// bytes at a time.
  private static func requireAligned(_ layout: PackedLayout) throws(BackendError) {
    for entry in layout.entries where entry.format.groupwise != nil && entry.rowBytes % 16 != 0 {
      throw .unavailable(
        backend: "CUDA",
        reason: "rows of \(entry.name) in \(entry.format.name) take \(entry.rowBytes) bytes, which "
          + "is no multiple of 16; choose another --group or --shape")
    }
  }
}
