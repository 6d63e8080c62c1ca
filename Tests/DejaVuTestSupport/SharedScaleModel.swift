package import DejaVuCore
import DejaVuFormats

/// Tiny models as GPTQ and AWQ publish them: blocks in codes, rows of W_O and W2 sharing scales, and
/// everything else in float32.
package enum SharedScaleModel {
  /// Random weights rounded to `format`, whose groups have zeros, and to scales that `rows` rows share.
  package static func model(
    of architecture: Architecture, format: GroupwiseFormat, rows: Int, seed: UInt64 = 1
  ) -> PackedModel {
    let layers = architecture.layers
    let plain = PackedLayout(
      architecture: architecture, types: PackedLayout.Types(uniform: .float32, layers: layers))
    var types = PackedLayout.Types(uniform: .float32, layers: layers)
    types.attention = Array(repeating: .groupwise(format), count: layers)
    types.mlp = types.attention
    types.outputScales = Array(
      repeating: ScaleRowFormat(rows: rows, bits: format.bits), count: layers)
    types.downScales = types.outputScales
    let shared = PackedLayout(architecture: architecture, types: types)
    let memory = OwnedMemory(byteCount: shared.byteCount)
    let source = TinyModel.model(of: architecture, seed: seed)
    // One tensor behind the other, the token embedding first.
    let original = source.tokenEmbedding.base
    for entry in plain.entries {
      guard let target = shared.entry(entry.name) else { continue }
      let (from, to) = (original + entry.offset, memory.base + target.offset)
      guard target.format.isGroupwise else {
        to.copyMemory(from: from, byteCount: entry.byteCount)
        continue
      }
      let kinds = entry.shape.count == 3 ? entry.shape[1] : 1
      for row in 0..<entry.shape.dropLast().reduce(1, *) {
        let values = (0..<architecture.hidden).map {
          from.load(fromByteOffset: row * entry.rowBytes + $0 * 4, as: Float.self)
        }
        let isShared = entry.name.hasSuffix("output") || (kinds > 1 && row % kinds == kinds - 1)
        if !isShared {
          format.pack(
            format.rounding(values), columns: values.count, into: to + row * target.rowBytes)
        }
      }
    }
    for layer in 0..<layers {
      let weights = source.layers[layer]
      let name = "layers.\(layer)"
      fill(
        weights.output, codes: "\(name).attention.output", kinds: 1,
        scales: "\(name).attention.output_scales", format, shared, memory)
      fill(
        weights.bundle.down, codes: "\(name).mlp.bundle", kinds: weights.bundle.rowsPerNeuron,
        scales: "\(name).mlp.down_scales", format, shared, memory)
    }
    return shared.model(owner: memory) { UnsafeRawPointer(memory.base + $0.offset) }
  }

  /// Rounds a matrix column by column, groups of its rows for themselves.
  private static func fill(
    _ matrix: RowMatrix, codes: String, kinds: Int, scales: String, _ format: GroupwiseFormat,
    _ layout: PackedLayout, _ memory: OwnedMemory
  ) {
    guard let codes = layout.entry(codes), let scales = layout.entry(scales),
      case .scales(let shared) = scales.format
    else { preconditionFailure("the layout has no such tensors") }
    let groups = (matrix.columns + format.group - 1) / format.group
    for first in stride(from: 0, to: matrix.rows, by: shared.rows) {
      let range = first..<min(first + shared.rows, matrix.rows)
      var rows = range.map { _ in
        GroupwiseRow(
          codes: Array(repeating: 0, count: matrix.columns),
          scales: Array(repeating: 0, count: groups), zeros: Array(repeating: 0, count: groups))
      }
      for column in 0..<matrix.columns {
        let values = range.map { matrix.element($0, column) }
        let (low, high) = (min(values.min() ?? 0, 0), max(values.max() ?? 0, 0))
        let half = HalfPrecision.half((high - low) / Float(format.greatestCode))
        let scale = HalfPrecision.float(half: half)
        let zero = scale > 0 ? (-low / scale).rounded() : 0
        shared.store(
          column, of: matrix.columns, scale: half, zero: zero,
          in: memory.base + scales.offset + first / shared.rows * scales.rowBytes)
        for (i, value) in values.enumerated() {
          let code = scale > 0 ? (value / scale + zero).rounded() : 0
          rows[i].codes[column] = UInt8(min(max(code, 0), Float(format.greatestCode)))
        }
      }
      for (row, stored) in zip(range, rows) {
        let place = row * kinds + kinds - 1
        format.pack(
          stored, columns: matrix.columns,
          into: memory.base + codes.offset + place * codes.rowBytes)
      }
    }
  }
}
