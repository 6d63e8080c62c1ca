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
    let file = layout.model(owner: Nobody()) { place(of: $0) }
    let card = CardLayout(file)
    let kernels = KernelOptions(
      capability: device.capability,
      cacheType: cuda.cacheType ?? (options.dtype == .float32 ? .float32 : .float16),
      paddedHead: Padding.head(architecture.headWidth), groups: CodeGroups.first(of: formats))
    let filler = try DeviceFiller(device, byteCount: card.byteCount, options: kernels)
    let views = Dictionary(
      WeightMap.plan(for: architecture).map { ($0.role, $0.view) }, uniquingKeysWith: { $1 })
    for entry in layout.entries {
      let (roles, width) = (entry.roles, entry.shape[entry.shape.count - 1])
      let (isVector, offset) = (entry.shape.count == 1, card.offset(of: place(of: entry)))
      let rows = isVector ? 1 : entry.shape.dropLast().reduce(1, *) / roles.count
      for (part, role) in roles.enumerated() {
        guard let view = views[role] else { preconditionFailure("no weight fills \(entry.name)") }
        let recipe = weights.recipe(for: role)
        if let format = entry.format.groupwise {
          filler.fill(
            offset: offset, format: format, rows: rows, columns: view.columns,
            every: (first: part, step: roles.count), numbers: (recipe.spread, recipe.seed))
          continue
        }
        filler.fill(
          offset: offset + part * entry.rowBytes, dtype: entry.dtype, rows: rows,
          columns: isVector ? view.rows : view.columns, stride: width * roles.count,
          numbers: (recipe.constant, recipe.spread, recipe.seed))
      }
    }
    try filler.finish()
    return DeviceModel(device, weights: card.moved(to: filler.memory), byteCount: card.byteCount)
  }

  /// Stands for the memory of a file that is never made.
  private final class Nobody: Sendable {}

  /// Where a tensor would lie in such memory; never read.
  private static func place(of entry: PackedLayout.Entry) -> UnsafeRawPointer {
    guard let place = UnsafeRawPointer(bitPattern: 1 << 40 + UInt(entry.offset)) else {
      preconditionFailure("a place behind address 0")
    }
    return place
  }
}
