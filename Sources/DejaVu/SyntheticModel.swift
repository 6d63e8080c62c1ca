package import DejaVuCPU
package import DejaVuCore
package import DejaVuFormats

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Seeded random weights in a given shape: for measuring speed, never quality.
///
/// Weights are uniform with the variance that keeps streams and logits near one; the up bias is
/// set so that a given share of neurons fires.
package struct SyntheticModel {
  package let model: PackedModel
  package let layout: PackedLayout
  package let memory: AnonymousMemory

  package struct Options: Hashable, Sendable {
    package var dtype = DType.float16
    package var seed: UInt64 = 1
    /// Share of neurons whose pre-activation is positive.
    package var reluDensity = 0.5

    package init() {}
  }

  /// Makes the weights in memory, by all threads.
  ///
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)``.
  package init(
    shape: ModelShape, options: Options, team: ThreadTeam,
    progress: (LoadingProgress) -> Void = { _ in }
  ) throws(BackendError) {
    let architecture = shape.architecture
    layout = PackedLayout(
      architecture: architecture,
      types: .init(uniform: options.dtype, layers: architecture.layers))
    memory = try AnonymousMemory(count: layout.byteCount, what: "synthetic \(shape.name)")
    let copier = try RowCopier(team: team)
    for (index, entry) in layout.entries.enumerated() {
      let recipe = Recipe(entry, architecture, options)
      let stream = Sampler64(seed: options.seed &* 1_000_003 &+ UInt64(index))
      copier.fill(
        memory.base + entry.offset, dtype: entry.dtype, count: entry.shape.reduce(1, *)
      ) { first, values in
        recipe.fill(values, first: first, stream)
      }
      progress(
        LoadingProgress(
          bytesDone: entry.offset + entry.byteCount, bytesTotal: layout.byteCount))
    }
    let base = memory.base
    model = layout.model(owner: memory) { UnsafeRawPointer(base + $0.offset) }
  }

  /// What every report made from such a model carries.
  package static func metadata(shape: ModelShape, options: Options) -> [String: String] {
    ["dejavu.synthetic": "\(shape.name), seed \(options.seed), density \(options.reluDensity)"]
  }
}

/// How one tensor is filled: a constant plus a uniform spread, in rows of a given kind.
private struct Recipe {
  private let constant: Float
  private let spread: Float
  /// In a bundle, spread of the down rows.
  private let downSpread: Float?
  private let width: Int

  init(
    _ entry: PackedLayout.Entry, _ architecture: Architecture, _ options: SyntheticModel.Options
  ) {
    let uniform = Float(12).squareRoot()
    let inputs = 1 / Float(architecture.hidden).squareRoot()
    let depth = 1 / Float(2 * architecture.layers).squareRoot()
    width = entry.shape[entry.shape.count - 1]
    var (constant, spread, down): (Float, Float, Float?) = (0, inputs * uniform, nil)
    if entry.name.hasSuffix("norm.weight") {
      (constant, spread) = (1, 0)
    } else if entry.name.hasSuffix("up_bias") {
      (constant, spread) = (Float(Self.normalQuantile(options.reluDensity)), 0)
    } else if entry.name.hasSuffix("bias") {
      spread = 0.01
    } else if entry.name.hasSuffix("output") {
      spread *= depth
    } else if entry.name.hasSuffix("bundle") {
      down = uniform * depth / Float(architecture.neurons).squareRoot()
    }
    self.constant = constant
    self.spread = spread
    downSpread = down
  }

  func fill(_ values: UnsafeMutableBufferPointer<Float>, first: Int, _ stream: Sampler64) {
    for i in values.indices {
      let at = first + i
      let isDown = downSpread != nil && at / width % 2 == 1
      let range = isDown ? downSpread ?? spread : spread
      values[i] = constant + range * stream.centered(at)
    }
  }

  /// Φ⁻¹ by bisection; `share` strictly between 0 and 1.
  private static func normalQuantile(_ share: Double) -> Double {
    var (low, high) = (-8.0, 8.0)
    for _ in 0..<60 {
      let middle = (low + high) / 2
      if 0.5 * erfc(-middle / 2.0.squareRoot()) < share { low = middle } else { high = middle }
    }
    return (low + high) / 2
  }
}

/// Random access to uniform numbers in [-0.5, 0.5): SplitMix64's mixing of seed and index.
struct Sampler64: Sendable {
  let seed: UInt64

  func centered(_ index: Int) -> Float {
    var z = seed &+ UInt64(truncatingIfNeeded: index >> 2) &* 0x9E37_79B9_7F4A_7C15
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    let lane = UInt16(truncatingIfNeeded: z >> (16 * UInt64(index & 3)))
    return (Float(lane) + 0.5) * 0x1p-16 - 0.5
  }
}
