import Foundation

/// Where one model's sparsity is: every question's answer, for programs (``json``) and for people.
package struct ExistenceReport: Codable, Hashable, Sendable {
  package static let schema = "dejavu/inspect-sparsity/1"

  package var model: Model
  /// How much text each question read.
  package var method: Method
  package var twoPass: TwoPassResult
  package var norms: [NormHistogram]
  package var sharing: [SharingRow]
  package var selectorLayers: [SelectorLayerRow]
  package var selectors: [SelectorRow]
  package var drift: [DriftRow]
  package var clustering: [ClusteringRow]
  /// One, or none where the model has no plan.
  package var choosers: [ChooserQuality]
  /// Sentences about what was left out.
  package var notes: [String]

  package struct Model: Codable, Hashable, Sendable {
    package var name: String
    package var fingerprint: String
    package var layers: Int
    package var heads: Int
    package var headGroups: Int
    package var neurons: Int
    package var hidden: Int
    package var synthetic: Bool
  }

  package struct Method: Codable, Hashable, Sendable {
    package var windows: Int
    package var tokens: Int
    package var lessonTokens: Int
    package var twoPassTokens: Int
    package var attentionTokens: Int
    package var neuronDensity: Figure
    package var headDensity: Figure
    package var seed: UInt64
    package var seconds: Figure
    package var processor: String
  }

  /// Several models side by side, on one line of JSON, keys in alphabetical order.
  package static func json(of reports: [ExistenceReport]) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    return String(decoding: try encoder.encode(Models(models: reports)), as: UTF8.self)
  }

  /// The reports that ``json(of:)`` wrote.
  package static func reports(json: String) throws -> [ExistenceReport] {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(Models.self, from: Data(json.utf8)).models
  }

  private struct Models: Codable {
    var schema = ExistenceReport.schema
    let models: [ExistenceReport]
  }
}
