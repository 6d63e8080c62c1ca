import DejaVuCore

/// Where a file holds a matrix in codes: checked against its format, not read yet.
package struct QuantizedEntry: Sendable {
  package let format: GroupFormat
  package let rows: Int
  package let columns: Int
  private let codes: TensorEntry
  private let scales: TensorEntry
  private let zeros: TensorEntry?

  /// Finds a matrix among a checkpoint's tensors.
  ///
  /// - Parameters:
  ///   - name: the matrix, as ``WeightRole/quantizedName``.
  ///   - format: what the configuration says.
  ///   - rows: of the matrix, as the architecture implies.
  ///   - columns: of the matrix.
  ///   - tensors: the checkpoint's, by name.
  ///   - folder: where they come from, for messages.
  /// - Throws: ``CheckpointError/missingTensor(name:folder:)``,
  ///   ``CheckpointError/shapeMismatch(name:expected:found:)``,
  ///   ``CheckpointError/invalidTensor(file:name:reason:)``.
  package init(
    _ name: String, format: GroupFormat, rows: Int, columns: Int,
    tensors: [String: TensorEntry], folder: String
  ) throws(CheckpointError) {
    self.format = format
    self.rows = rows
    self.columns = columns
    var found: [TensorEntry] = []
    for declaration in QuantizedRows.declarations(
      name, format: format, rows: rows, columns: columns)
    {
      guard let entry = tensors[declaration.name] else {
        throw .missingTensor(name: declaration.name, folder: folder)
      }
      guard entry.shape == declaration.shape else {
        throw .shapeMismatch(
          name: declaration.name, expected: declaration.shape, found: entry.shape)
      }
      guard entry.storedType == declaration.type.rawValue else {
        throw .invalidTensor(
          file: entry.file.path, name: declaration.name,
          reason: "it is stored as \(escaped(entry.storedType)), not as "
            + "\(declaration.type.rawValue)")
      }
      found.append(entry)
    }
    scales = found[0]
    zeros = format.isSymmetric ? nil : found[1]
    codes = found[found.count - 1]
  }

  /// Reads the matrix.
  ///
  /// - Throws: ``CheckpointError/invalidTensor(file:name:reason:)`` for a scale that is negative or
  ///   not finite, or a zero that no group can have.
  package func read() throws(CheckpointError) -> QuantizedRows {
    let scales = Self.patterns(scales)
    let zeros = zeros.map(Self.patterns) ?? []
    for pattern in scales where pattern >= 0x7C00 {
      throw invalid(self.scales, "its scale \(HalfPrecision.float(half: pattern))", "0 to 65504")
    }
    let greatest = Float(format.greatestCode + 1)
    for pattern in zeros {
      let zero = HalfPrecision.float(half: pattern)
      guard zero >= 0, zero <= greatest, zero * 2 == (zero * 2).rounded() else {
        throw invalid(
          self.zeros ?? codes, "its zero \(zero)", "a half-integer from 0 to \(greatest)")
      }
    }
    let width = format.codeBytes(columns: columns)
    let unpacked = [UInt8](unsafeUninitializedCapacity: rows * columns) { buffer, count in
      codes.withBytes { bytes in
        guard let to = buffer.baseAddress, let from = bytes.baseAddress else { return }
        for row in 0..<rows {
          CodeBits.unpack(
            from.assumingMemoryBound(to: UInt8.self) + row * width, count: columns,
            bits: format.bits, into: to + row * columns)
        }
      }
      count = rows * columns
    }
    return QuantizedRows(
      format: format, rows: rows, columns: columns, codes: unpacked, scales: scales, zeros: zeros)
  }

  private func invalid(
    _ entry: TensorEntry, _ found: String, _ allowed: String
  ) -> CheckpointError {
    .invalidTensor(
      file: entry.file.path, name: entry.name, reason: "\(found) is not \(allowed)")
  }

  private static func patterns(_ entry: TensorEntry) -> [UInt16] {
    entry.withBytes { bytes in
      (0..<bytes.count / 2).map {
        UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self))
      }
    }
  }
}
