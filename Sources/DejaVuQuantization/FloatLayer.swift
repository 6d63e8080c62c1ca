import DejaVuCPU
import DejaVuCore
import DejaVuFormats

/// A block whose matrices are what codes stand for, in float32: what the layers behind it read.
final class FloatLayer: @unchecked Sendable {
  // Safe to share: rows are written before any reader exists.
  private(set) var layer: PackedLayer
  /// Keeps the memory of the matrices.
  private var buffers: [CPUBuffer] = []

  init(_ source: PackedLayer) {
    layer = source
    let (bundle, columns) = (source.bundle, source.query.columns)
    layer.query = make(rows: source.query.rows, columns: columns)
    layer.key = make(rows: source.key.rows, columns: columns)
    layer.value = make(rows: source.value.rows, columns: columns)
    layer.output = make(rows: source.output.rows, columns: columns)
    layer.bundle = NeuronBundle(
      matrix: make(rows: bundle.matrix.rows, columns: columns),
      rowsPerNeuron: bundle.rowsPerNeuron)
  }

  private func make(rows: Int, columns: Int) -> RowMatrix {
    let buffer = CPUBuffer(capacity: rows, width: columns)
    buffers.append(buffer)
    return RowMatrix(
      base: UnsafeRawPointer(buffer.base), dtype: .float32, rows: rows, columns: columns,
      stride: buffer.stride * 4)
  }

  /// Fills a matrix with what codes stand for.
  func set(_ role: WeightRole.LayerRole, _ rows: [GroupwiseRow], _ format: GroupwiseFormat) {
    guard let matrix = layer.matrix(role) else { return }
    for (index, row) in rows.enumerated() {
      let target = UnsafeMutableRawPointer(mutating: matrix.base + index * matrix.stride)
      format.dequantize(row, into: target.assumingMemoryBound(to: Float.self))
    }
  }
}

extension PackedLayer {
  /// One of the block's matrices; nil for a gate that the model has not, and for vectors.
  func matrix(_ role: WeightRole.LayerRole) -> RowMatrix? {
    switch role {
    case .query: query
    case .key: key
    case .value: value
    case .output: output
    case .gate: bundle.gate
    case .up: bundle.up
    case .down: bundle.down
    default: nil
    }
  }
}
