import DejaVuCPU
import DejaVuCore
import DejaVuFormats

/// Lays the published codes of a checkpoint out as the engine reads them: every code, scale and zero
/// as it is.
struct CodePacker {
  let checkpoint: Checkpoint
  let team: ThreadTeam

  /// Rows that a thread takes at a time: of a word's codes or more, so that no word is read twice.
  private static let piece = 32

  /// Fills one tensor of codes, or of scales that rows share.
  ///
  /// - Parameters:
  ///   - entry: the tensor, groupwise or scales.
  ///   - target: where it starts, zeroed.
  func fill(_ entry: PackedLayout.Entry, at target: UnsafeMutableRawPointer) {
    if case .scales(let format) = entry.format {
      guard let role = entry.scaledRole, let tensor = checkpoint.codes[role] else { return }
      fillScales(tensor, format, entry, at: target)
      return
    }
    guard let format = entry.format.groupwise else { return }
    for (kind, role) in entry.roles.enumerated() {
      guard let tensor = checkpoint.codes[role] else { continue }
      let stride = entry.roles.count * entry.rowBytes
      fillRows(tensor, format, at: target + kind * entry.rowBytes, stride: stride)
    }
    // W_O and W2 are read once more, for their scales.
    for tensor in entry.roles.compactMap({ checkpoint.codes[$0] }) where !tensor.rowsAreInputs {
      for part in tensor.entries { part.file.discard(part.range) }
    }
  }

  private func fillRows(
    _ tensor: CodedTensor, _ format: GroupwiseFormat, at target: UnsafeMutableRawPointer,
    stride: Int
  ) {
    let rows = tensor.rowsAreInputs ? tensor.inputs : tensor.outputs
    let columns = tensor.rowsAreInputs ? tensor.outputs : tensor.inputs
    let (piece, groups) = (Self.piece, (columns + format.group - 1) / format.group)
    nonisolated(unsafe) let target = target
    team.run(chunks: (rows + piece - 1) / piece) { chunk in
      let range = chunk * piece..<min((chunk + 1) * piece, rows)
      withUnsafeTemporaryAllocation(of: UInt8.self, capacity: piece * columns) { codes in
        guard let base = codes.baseAddress else { return }
        if tensor.rowsAreInputs {
          tensor.read(inputs: range, into: base)
        } else {
          tensor.read(outputs: range, into: base)
        }
        for row in range {
          let start = base + (row - range.lowerBound) * columns
          // What a row shares is not in it.
          var stored = GroupwiseRow(
            codes: Array(UnsafeBufferPointer(start: start, count: columns)),
            scales: Array(repeating: 0, count: groups), zeros: Array(repeating: 0, count: groups))
          if !tensor.rowsAreInputs {
            for group in 0..<groups {
              let source = group * format.group / tensor.group
              stored.scales[group] = tensor.scale(group: source, output: row)
              stored.zeros?[group] = Float(tensor.zero(group: source, output: row))
            }
          }
          format.pack(stored, columns: columns, into: target + row * stride)
        }
      }
    }
  }

  private func fillScales(
    _ tensor: CodedTensor, _ format: ScaleRowFormat, _ entry: PackedLayout.Entry,
    at target: UnsafeMutableRawPointer
  ) {
    nonisolated(unsafe) let target = target
    team.run(chunks: format.count(tensor.inputs)) { group in
      let row = target + group * entry.rowBytes
      for output in 0..<tensor.outputs {
        format.store(
          output, of: tensor.outputs, scale: tensor.scale(group: group, output: output),
          zero: Float(tensor.zero(group: group, output: output)), in: row)
      }
    }
    for part in tensor.entries { part.file.discard(part.range) }
  }
}
