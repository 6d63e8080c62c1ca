package import DejaVuCore
import DejaVuFormats

/// Tiny models whose matrices are rounded to groups, beside the floats that these stand for.
package enum GroupwiseModel {
  /// The same random weights twice: in `format`, and in float32 with exactly its values.
  package static func pair(
    of architecture: Architecture, format: GroupwiseFormat, seed: UInt64 = 1
  ) -> (groupwise: PackedModel, plain: PackedModel) {
    let source = TinyModel.model(of: architecture, seed: seed)
    let layers = architecture.layers
    let plain = PackedLayout(
      architecture: architecture, types: PackedLayout.Types(uniform: .float32, layers: layers))
    let small = PackedLayout(
      architecture: architecture,
      types: PackedLayout.Types(uniform: .groupwise(format), layers: layers))
    let floats = OwnedMemory(byteCount: plain.byteCount)
    let codes = OwnedMemory(byteCount: small.byteCount)
    // One tensor behind the other, the token embedding first.
    let original = source.tokenEmbedding.base
    for (entry, rounded) in zip(plain.entries, small.entries) {
      let from = original + entry.offset
      if entry.shape.count == 1 {
        (floats.base + entry.offset).copyMemory(from: from, byteCount: entry.byteCount)
        (codes.base + rounded.offset).copyMemory(from: from, byteCount: entry.byteCount)
        continue
      }
      let columns = architecture.columns(of: entry.name)
      for row in 0..<entry.shape.dropLast().reduce(1, *) {
        let values = (0..<columns).map {
          from.load(fromByteOffset: row * entry.rowBytes + $0 * 4, as: Float.self)
        }
        let target = codes.base + rounded.offset + row * rounded.rowBytes
        format.pack(format.rounding(values), columns: columns, into: target)
        for column in 0..<columns {
          let value = format.value(column, of: target, columns: columns)
          DType.float32.store(
            value, to: floats.base + entry.offset + row * entry.rowBytes, index: column)
        }
      }
    }
    return (
      small.model(owner: codes) { UnsafeRawPointer(codes.base + $0.offset) },
      plain.model(owner: floats) { UnsafeRawPointer(floats.base + $0.offset) }
    )
  }
}

extension GroupwiseFormat {
  /// Round-to-nearest between the least and the greatest of each group.
  package func rounding(_ values: [Float]) -> GroupwiseRow {
    var row = GroupwiseRow(codes: [], scales: [], zeros: hasZeros ? [] : nil)
    for start in stride(from: 0, to: values.count, by: group) {
      let part = values[start..<min(start + group, values.count)]
      let (low, high) = (min(part.min() ?? 0, 0), max(part.max() ?? 0, 0))
      let width = hasZeros ? (high - low) / Float(greatestCode) : max(-low, high) / middle
      let half = HalfPrecision.half(width)
      let scale = HalfPrecision.float(half: half)
      let zero = hasZeros && scale > 0 ? (-low / scale).rounded() : middle
      row.scales.append(half)
      if hasZeros { row.zeros?.append(zero) }
      row.codes += part.map { value in
        let code = scale > 0 ? (value / scale + zero).rounded() : 0
        return UInt8(min(max(code, 0), Float(greatestCode)))
      }
    }
    return row
  }
}
