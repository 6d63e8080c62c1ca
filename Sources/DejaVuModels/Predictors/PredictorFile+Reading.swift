package import DejaVuCore
import DejaVuFormats
import DejaVuJSON

extension PredictorFile {
  /// Maps a predictor file and checks everything in it against the model.
  ///
  /// - Parameters:
  ///   - path: the file.
  ///   - fingerprint: of the model that is to use it.
  ///   - architecture: of the same model.
  /// - Returns: its predictors, mapped (those of version 1 copied), and the text of its plans.
  /// - Throws: ``PredictorError``; nothing is ever guessed or filled in.
  package static func open(
    path: String, fingerprint: String, architecture: Architecture
  ) throws(PredictorError) -> PredictorFile {
    let file: SafetensorsFile
    do throws(CheckpointError) {
      file = try SafetensorsFile(path: path)
    } catch {
      throw PredictorError(error, path: path)
    }
    guard let found = file.metadata[Key.version] else {
      throw .damaged(path: path, reason: "it is no predictor file, '\(Key.version)' is missing")
    }
    guard found == version || found == earlierVersion else {
      throw .unsupported(path: path, found: found, supported: version)
    }
    guard let owner = file.metadata[Key.fingerprint] else {
      throw .damaged(path: path, reason: "'\(Key.fingerprint)' is missing")
    }
    // A model whose fingerprint nobody knows has no predictors of its own.
    guard owner == fingerprint, owner.utf8.count == 64 else {
      throw .foreign(path: path, expected: fingerprint, found: owner)
    }
    let plans = file.metadata[Key.plans] ?? "{}"
    guard isObject(plans) else {
      throw .damaged(path: path, reason: "'\(Key.plans)' is no JSON object")
    }
    let entries = try EntryReader.entries(
      in: file.metadata[Key.entries], path: path, architecture: architecture)
    let reader = TensorReader(path: path, file: file, isEarlier: found == earlierVersion)
    var predictors: [PredictorSite: ChooserWeights] = [:]
    for entry in entries {
      predictors[entry.site] = try reader.weights(of: entry, architecture: architecture)
    }
    let used = entries.reduce(0) { $0 + ($1.hasBias ? 3 : 2) }
    guard used == file.entries.count else {
      throw .damaged(
        path: path, reason: "it holds \(file.entries.count) tensors but its entries name \(used)")
    }
    return PredictorFile(
      path: path, fingerprint: owner, entries: entries, predictors: predictors, plans: plans)
  }
}

/// Takes a predictor's tensors from a file, distrusting every one.
private struct TensorReader {
  private let path: String
  private let owner: MappedFile
  private let tensors: [String: TensorEntry]
  /// Whether rows lie as version 1 has them.
  private let isEarlier: Bool

  init(path: String, file: SafetensorsFile, isEarlier: Bool) {
    self.path = path
    self.isEarlier = isEarlier
    owner = file.file
    tensors = Dictionary(file.entries.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
  }

  func weights(
    of entry: PredictorEntry, architecture: Architecture
  ) throws(PredictorError) -> ChooserWeights {
    let name = entry.site.name
    let rows = entry.site.axis.rows(architecture)
    let first = try matrix(
      name + ".a", rows: entry.rank, columns: PredictorEntry.columns(architecture), entry.bits)
    let second = try matrix(name + ".b", rows: rows, columns: entry.rank, entry.bits)
    let bias = entry.hasBias ? try vector(name + ".bias", count: rows) : nil
    return ChooserWeights(first: first, second: second, norm: .plain, bias: bias)
  }

  /// The tensor of a name, type and shape, whose bytes lie at a multiple of `alignment`.
  private func tensor(
    _ name: String, type: StoredType, shape: [Int], alignment: Int
  ) throws(PredictorError) -> TensorEntry {
    guard let tensor = tensors[name] else {
      throw .damaged(path: path, reason: "tensor '\(name)' is missing")
    }
    guard tensor.storedType == type.rawValue else {
      throw .damaged(
        path: path,
        reason: "tensor '\(name)' is stored as \(tensor.storedType), not \(type.rawValue)")
    }
    guard tensor.shape == shape else {
      throw .shapeMismatch(path: path, tensor: name, expected: shape, found: tensor.shape)
    }
    guard tensor.range.lowerBound % alignment == 0 else {
      throw .damaged(
        path: path,
        reason: "tensor '\(name)' starts at byte \(tensor.range.lowerBound), not at a multiple of "
          + "\(alignment)")
    }
    return tensor
  }

  private func matrix(
    _ name: String, rows: Int, columns: Int, _ bits: Int
  ) throws(PredictorError) -> GroupwiseMatrix {
    let earlier = isEarlier ? EarlierRows(bits: bits, columns: columns) : nil
    let rowBytes = earlier?.rowBytes ?? GroupwiseMatrix.rowBytes(columns: columns, bits: bits)
    let tensor = try tensor(name, type: .uint8, shape: [rows, rowBytes], alignment: 2)
    guard let base = tensor.bytes.baseAddress else {
      throw .damaged(path: path, reason: "tensor '\(name)' is empty")
    }
    let matrix =
      earlier?.matrix(base, rows: rows)
      ?? GroupwiseMatrix(base: base, bits: bits, rows: rows, columns: columns, owner: owner)
    for row in 0..<rows {
      let start = matrix.base + row * matrix.rowBytes
      for group in 0..<matrix.format.groups(columns) {
        let scale = matrix.format.scale(group, of: start, columns: columns)
        guard scale & 0x7C00 != 0x7C00 else {
          throw .damaged(
            path: path, reason: "a scale in row \(row) of tensor '\(name)' is not finite")
        }
      }
    }
    return matrix
  }

  private func vector(_ name: String, count: Int) throws(PredictorError) -> FloatVector {
    let tensor = try tensor(name, type: .float32, shape: [count], alignment: 4)
    guard let base = tensor.bytes.baseAddress else {
      throw .damaged(path: path, reason: "tensor '\(name)' is empty")
    }
    let values = base.assumingMemoryBound(to: Float.self)
    for index in 0..<count where !values[index].isFinite {
      throw .damaged(path: path, reason: "element \(index) of tensor '\(name)' is not finite")
    }
    return FloatVector(base: values, count: count, owner: owner)
  }
}
