package import DejaVuCore
import DejaVuFormats

/// All predictors of one model and the plans made for them: one safetensors file.
///
/// Tensors are named after axis and layer. `neurons.3.a` `[rank, row bytes]` and `neurons.3.b`
/// `[rows, row bytes]` hold bytes as ``GroupwiseMatrix`` lays rows out, `neurons.3.bias` `[rows]`
/// floats. The header carries the model's fingerprint; a file of another model is refused. Files of
/// version 1, whose rows lie otherwise (``EarlierRows``), are read as well.
package struct PredictorFile: Sendable {
  package static let fileName = "predictors.safetensors"
  static let version = "2"
  static let earlierVersion = "1"

  /// The header's keys.
  enum Key {
    static let version = "dejavu.predictors_version"
    static let fingerprint = "dejavu.fingerprint"
    static let entries = "dejavu.entries"
    static let plans = "dejavu.plans"
  }

  package let path: String
  /// The model that the predictors were trained on.
  package let fingerprint: String
  /// In the order of the file, one per axis and layer at most.
  package let entries: [PredictorEntry]
  package let predictors: [PredictorSite: ChooserWeights]
  /// A JSON object, kept as it is.
  package let plans: String

  /// A predictor and what is said about it.
  package struct Predictor: Sendable {
    package var entry: PredictorEntry
    package var weights: ChooserWeights

    package init(entry: PredictorEntry, weights: ChooserWeights) {
      self.entry = entry
      self.weights = weights
    }
  }

  /// The entry of a layer's axis, wherever its predictor looks.
  package func entry(_ axis: RowAxis, layer: Int) -> PredictorEntry? {
    entries.first { $0.site.axis == axis && $0.site.layer == layer }
  }

  /// Writes the file anew with other plans, predictors unchanged.
  ///
  /// - Parameters:
  ///   - plans: the text of a JSON object.
  ///   - architecture: of the model that the predictors belong to.
  /// - Returns: the file reopened.
  /// - Throws: ``PredictorError/unwritable(path:reason:)``; the old file is still there then.
  package func replacingPlans(
    _ plans: String, architecture: Architecture
  ) throws(PredictorError) -> PredictorFile {
    let all = entries.compactMap { entry in
      predictors[entry.site].map { Predictor(entry: entry, weights: $0) }
    }
    try Self.write(all, to: path, fingerprint: fingerprint, plans: plans)
    return try Self.open(path: path, fingerprint: fingerprint, architecture: architecture)
  }
}
