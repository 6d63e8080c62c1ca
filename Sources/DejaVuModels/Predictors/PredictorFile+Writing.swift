import DejaVuCore
import DejaVuFormats
import DejaVuJSON

extension PredictorFile {
  /// Writes predictors; the file appears when it is complete, or not at all.
  ///
  /// - Parameters:
  ///   - predictors: low-rank ones, at most one per axis and layer.
  ///   - path: a file that has this name is replaced.
  ///   - fingerprint: the model's.
  ///   - plans: the text of a JSON object.
  /// - Throws: ``PredictorError/unwritable(path:reason:)``.
  package static func write(
    _ predictors: [Predictor], to path: String, fingerprint: String, plans: String = "{}"
  ) throws(PredictorError) {
    guard isObject(plans) else {
      throw .unwritable(path: path, reason: "its plans would be no JSON object")
    }
    var tensors: [SafetensorsDeclaration] = []
    // Floats first, so that they are aligned.
    for predictor in predictors where predictor.weights.bias != nil {
      tensors.append(
        SafetensorsDeclaration(
          name: predictor.entry.site.name + ".bias", type: .float32,
          shape: [predictor.weights.rows]))
    }
    for predictor in predictors {
      for (suffix, matrix) in try matrices(of: predictor, path: path) {
        tensors.append(
          SafetensorsDeclaration(
            name: predictor.entry.site.name + suffix, type: .uint8,
            shape: [matrix.rows, matrix.rowBytes]))
      }
    }
    let metadata = [
      Key.version: version, Key.fingerprint: fingerprint, Key.plans: plans,
      Key.entries: "[" + predictors.map { EntryText.text($0.entry) }.joined(separator: ",") + "]",
    ]
    do throws(CheckpointError) {
      let writer = try SafetensorsWriter(path: path, tensors: tensors, metadata: metadata)
      try append(predictors, to: writer)
      try writer.finish()
    } catch {
      throw PredictorError(error, path: path)
    }
  }

  private static func matrices(
    of predictor: Predictor, path: String
  ) throws(PredictorError) -> [(suffix: String, matrix: GroupwiseMatrix)] {
    guard let second = predictor.weights.second else {
      throw .unwritable(path: path, reason: "a predictor has one matrix, not two")
    }
    return [(".a", predictor.weights.first), (".b", second)]
  }

  private static func append(
    _ predictors: [Predictor], to writer: SafetensorsWriter
  ) throws(CheckpointError) {
    for predictor in predictors {
      guard let bias = predictor.weights.bias else { continue }
      let values = UnsafeBufferPointer(start: bias.base, count: bias.count)
      try writer.append(UnsafeRawBufferPointer(values), to: predictor.entry.site.name + ".bias")
    }
    for predictor in predictors {
      let (first, second) = (predictor.weights.first, predictor.weights.second)
      for (suffix, matrix) in [(".a", first), (".b", second)] {
        guard let matrix else { continue }
        let bytes = UnsafeRawBufferPointer(start: matrix.base, count: matrix.byteCount)
        try writer.append(bytes, to: predictor.entry.site.name + suffix)
      }
    }
  }

  /// Whether `text` is strict JSON and an object.
  static func isObject(_ text: String) -> Bool {
    let parsed = try? JSON.parse(text.utf8, limits: JSONLimits(depth: 32, values: 1 << 20))
    return parsed?.members != nil
  }
}

/// An entry as a JSON object.
package enum EntryText {
  package static func text(_ entry: PredictorEntry) -> String {
    let figures = entry.figures
    let pairs: [(String, String)] = [
      ("axis", "\"\(entry.site.axis.rawValue)\""),
      ("layer", "\(entry.site.layer)"),
      ("kind", "\"low-rank\""),
      ("placement", "\"\(entry.site.placement.rawValue)\""),
      ("rank", "\(entry.rank)"),
      ("bits", "\(entry.bits)"),
      ("bias", "\(entry.hasBias)"),
      ("norm", "\"\(ChooserWeights.Norm.plain.rawValue)\""),
      ("criterion", "\"\(word(entry.criterion))\""),
      ("threshold", number(entry.threshold)),
      ("tokens", "\(figures.tokens)"),
      ("positives", number(figures.positives)),
      ("k98", "\(figures.k98)"),
      ("recall", number(figures.recall)),
      ("precision", number(figures.precision)),
      ("covered_mass", number(figures.coveredMass)),
      ("density98", number(figures.density98)),
      ("score98", number(figures.score98)),
    ]
    return "{" + pairs.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
  }

  /// JSON has no words for what is not finite.
  private static func number(_ value: Double) -> String { value.isFinite ? "\(value)" : "0" }

  /// Letters, digits and dashes only, so that nothing needs escaping.
  private static func word(_ text: String) -> String {
    text.filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }
  }
}
