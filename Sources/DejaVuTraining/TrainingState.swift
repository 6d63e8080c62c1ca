import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuJSON
import DejaVuModels

/// Where training stands between two rounds: everything but the samples, which the text gives again.
struct TrainingState {
  /// What the run is made of: settings, text and model.
  var key: String
  var group = 0
  /// Rounds finished in this group.
  var round = 0
  /// Tokens that this group is to read, once that is decided.
  var plannedTokens: Int?
  var seconds = 0.0
  var random = SplitMix64(seed: 0)
  /// Scorings since any predictor of the group became better.
  var stale = 0
  /// The best predictors so far, of this group and those before it.
  var best: [PredictorSite: BestPredictor] = [:]

  static let version = "2"
}

/// A rounded predictor and what it achieved.
struct BestPredictor {
  var entry: PredictorEntry
  var rounded: RoundedPredictor
}

extension TrainingState {
  private enum Key {
    static let version = "dejavu.training_version"
    static let run = "dejavu.training_run"
    static let progress = "dejavu.training_progress"
    static let best = "dejavu.entries"
  }

  /// Writes the state, whole or not at all.
  ///
  /// - Parameters:
  ///   - path: where to.
  ///   - models: those of the group.
  ///   - steps: how many each of them has taken.
  /// - Throws: ``CheckpointError/unwritable(path:reason:)``.
  func save(to path: String, models: [LowRankModel], steps: Int) throws(CheckpointError) {
    let finished = best.values.sorted {
      ($0.entry.site.axis.rawValue, $0.entry.site.layer)
        < ($1.entry.site.axis.rawValue, $1.entry.site.layer)
    }
    var tensors: [SafetensorsDeclaration] = []
    for (index, model) in models.enumerated() {
      for part in ["values", "first", "second"] {
        tensors.append(
          SafetensorsDeclaration(name: "\(part).\(index)", type: .float32, shape: [model.count]))
      }
    }
    for (index, predictor) in finished.enumerated() {
      let rounded = predictor.rounded
      tensors += [
        SafetensorsDeclaration(
          name: "best.bias.\(index)", type: .float32, shape: [rounded.bias.count]),
        SafetensorsDeclaration(
          name: "best.a.\(index)", type: .uint8, shape: [rounded.first.count]),
        SafetensorsDeclaration(
          name: "best.b.\(index)", type: .uint8, shape: [rounded.second.count]),
      ]
    }
    let writer = try SafetensorsWriter(
      path: path, tensors: tensors,
      metadata: [
        Key.version: Self.version, Key.run: key,
        Key.progress: progressText(steps: steps),
        Key.best: "[" + finished.map { EntryText.text($0.entry) }.joined(separator: ",") + "]",
      ])
    for (index, model) in models.enumerated() {
      let parts = [("values", model.values), ("first", model.first), ("second", model.second)]
      for (part, buffer) in parts {
        let floats = UnsafeBufferPointer(start: buffer.base, count: model.count)
        try writer.append(UnsafeRawBufferPointer(floats), to: "\(part).\(index)")
      }
    }
    for (index, predictor) in finished.enumerated() {
      try writer.append(predictor.rounded.bias, to: "best.bias.\(index)")
      try writer.append(predictor.rounded.first, to: "best.a.\(index)")
      try writer.append(predictor.rounded.second, to: "best.b.\(index)")
    }
    try writer.finish()
  }

  private func progressText(steps: Int) -> String {
    "{\"group\":\(group),\"round\":\(round),\"planned\":\(plannedTokens ?? 0),"
      + "\"milliseconds\":\(Int(seconds * 1000)),\"random\":\"\(random.state)\","
      + "\"stale\":\(stale),\"steps\":\(steps)}"
  }

  /// Reads a state of this very run.
  ///
  /// - Returns: the state and the steps of its models; nil where there is none.
  static func load(
    from path: String, key: String, architecture: Architecture
  ) throws -> (state: TrainingState, steps: Int, file: SafetensorsFile)? {
    guard FileSystem.exists(path) else { return nil }
    let file = try SafetensorsFile(path: path)
    guard file.metadata[Key.version] == version, let run = file.metadata[Key.run],
      let text = file.metadata[Key.progress],
      let progress = try? JSON.parse(text.utf8, limits: JSONLimits(depth: 4, values: 64)),
      let group = progress["group"]?.integer, let round = progress["round"]?.integer,
      let planned = progress["planned"]?.integer,
      let milliseconds = progress["milliseconds"]?.integer,
      let random = progress["random"]?.text.flatMap({ UInt64($0) }),
      let stale = progress["stale"]?.integer, let steps = progress["steps"]?.integer,
      min(group, round, planned, milliseconds, stale, steps) >= 0, round < 1 << 32
    else {
      throw TrainingError.damagedState(
        path: path, reason: "its header is not that of a state of this version")
    }
    guard run == key else { throw TrainingError.foreignState(path: path) }
    var state = TrainingState(key: key)
    (state.group, state.round, state.stale) = (group, round, stale)
    state.plannedTokens = planned == 0 ? nil : planned
    state.seconds = Double(milliseconds) / 1000
    state.random.state = random
    state.best = try best(in: file, path: path, architecture: architecture)
    return (state, steps, file)
  }

  private static func best(
    in file: SafetensorsFile, path: String, architecture: Architecture
  ) throws -> [PredictorSite: BestPredictor] {
    let entries = try EntryReader.entries(
      in: file.metadata[Key.best], path: path, architecture: architecture)
    var best: [PredictorSite: BestPredictor] = [:]
    for (index, entry) in entries.enumerated() {
      let columns = PredictorEntry.columns(architecture)
      let rows = entry.site.axis.rows(architecture)
      let first = entry.rank * GroupwiseMatrix.rowBytes(columns: columns, bits: entry.bits)
      let second = rows * GroupwiseMatrix.rowBytes(columns: entry.rank, bits: entry.bits)
      best[entry.site] = BestPredictor(
        entry: entry,
        rounded: RoundedPredictor(
          first: try file.elements("best.a.\(index)", count: first, path),
          second: try file.elements("best.b.\(index)", count: second, path),
          bias: try file.elements("best.bias.\(index)", count: rows, path)))
    }
    return best
  }
}

extension SafetensorsFile {
  /// The elements of a tensor that must have this many.
  func elements<Element: BitwiseCopyable>(
    _ name: String, count: Int, _ path: String
  ) throws(TrainingError) -> [Element] {
    let size = MemoryLayout<Element>.size
    let type: StoredType = size == 4 ? .float32 : .uint8
    guard let entry = entries.first(where: { $0.name == name }), entry.storedType == type.rawValue,
      entry.range.count == count * size
    else {
      throw .damagedState(path: path, reason: "tensor '\(name)' is missing or has another size")
    }
    return entry.withBytes { bytes in
      [Element](unsafeUninitializedCapacity: count) { buffer, filled in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(from: bytes)
        filled = count
      }
    }
  }

  /// Gives a model of a state its values and moments back.
  func restore(
    _ model: LowRankModel, index: Int, steps: Int, path: String
  ) throws(TrainingError) {
    let parts = [("values", model.values), ("first", model.first), ("second", model.second)]
    for (part, buffer) in parts {
      let values: [Float] = try elements("\(part).\(index)", count: model.count, path)
      guard values.allSatisfy(\.isFinite) else {
        throw .damagedState(path: path, reason: "tensor '\(part).\(index)' is not finite")
      }
      buffer.base.update(from: values, count: values.count)
    }
    model.steps = steps
  }
}
