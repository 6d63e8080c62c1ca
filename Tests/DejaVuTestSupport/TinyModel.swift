package import DejaVuCore
import DejaVuFormats

/// Seeded random models, one per way of putting a network together; sizes are odd on purpose.
package enum TinyModel: String, CaseIterable, Sendable {
  case opt, optPostNorm, llamaGrouped, llamaReLU, gpt2, neoX, bloom, mistral, olmo

  /// A model with weights of variance 1 / columns, so that streams neither die nor explode.
  package func model(dtype: DType = .float32, seed: UInt64 = 1) -> PackedModel {
    Self.model(of: architecture, dtype: dtype, seed: seed)
  }

  package static func model(
    of architecture: Architecture, dtype: DType = .float32, seed: UInt64 = 1
  ) -> PackedModel {
    let types = PackedLayout.Types(uniform: dtype, layers: architecture.layers)
    let layout = PackedLayout(architecture: architecture, types: types)
    let memory = OwnedMemory(byteCount: layout.byteCount)
    var random = SeededRandom(seed: seed)
    for entry in layout.entries {
      let at = memory.base + entry.offset
      if entry.shape.count == 1 {
        let center: Float = entry.name.hasSuffix("norm.weight") ? 1 : 0
        let count = architecture.lanes(ofVector: entry.name)
        for i in 0..<count {
          DType.float32.store(center + 0.2 * random.unit(), to: at, index: i)
        }
      } else {
        let (columns, width) = (architecture.columns(of: entry.name), entry.shape.last ?? 0)
        let scale = 1 / Float(columns).squareRoot()
        for row in 0..<entry.shape.dropLast().reduce(1, *) {
          for column in 0..<columns {
            entry.dtype.store(scale * random.unit(), to: at, index: row * width + column)
          }
        }
      }
    }
    return layout.model(owner: memory) { UnsafeRawPointer(memory.base + $0.offset) }
  }
}

extension Architecture {
  func columns(of matrix: String) -> Int {
    ["embed.tokens", "project.in", "head"].contains(matrix) ? embeddingWidth : hidden
  }

  fileprivate func lanes(ofVector name: String) -> Int {
    if name.hasSuffix("query_bias") { return heads * headWidth }
    if name.hasSuffix("key_bias") || name.hasSuffix("value_bias") { return kvHeads * headWidth }
    if name.hasSuffix("up_bias") || name.hasSuffix("gate_bias") { return neurons }
    return hidden
  }
}

extension DType {
  /// Stores the nearest value at an element of packed memory.
  package func store(_ value: Float, to base: UnsafeMutableRawPointer, index: Int) {
    let at = base + index * size
    switch self {
    case .float32: at.storeBytes(of: value, as: Float.self)
    case .float16: at.storeBytes(of: HalfPrecision.half(value), as: UInt16.self)
    case .bfloat16: at.storeBytes(of: HalfPrecision.brain(value), as: UInt16.self)
    }
  }

  /// The value that ``store(_:to:index:)`` leaves behind.
  package func rounded(_ value: Float) -> Float {
    switch self {
    case .float32: value
    case .float16: HalfPrecision.float(half: HalfPrecision.half(value))
    case .bfloat16: HalfPrecision.float(brain: HalfPrecision.brain(value))
    }
  }
}

/// Zeroed memory on a cache line, freed with its owner.
package final class OwnedMemory: @unchecked Sendable {
  // Safe to share: tests write it before they hand it on.
  package let base: UnsafeMutableRawPointer

  package init(byteCount: Int) {
    base = .allocate(byteCount: max(byteCount, 1), alignment: 64)
    base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }

  deinit { base.deallocate() }
}
