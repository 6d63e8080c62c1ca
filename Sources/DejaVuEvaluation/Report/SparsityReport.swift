import Foundation

/// Everything that `dejavu report` shows, of one or several models.
package struct SparsityReport: Codable, Hashable, Sendable {
  package static let schema = "dejavu/report/1"

  package var schema = Self.schema
  package var version: String
  package var models: [Model]
  package var nearestRows: NearestRows?

  package struct Model: Codable, Hashable, Sendable {
    package var existence: ExistenceReport
    /// nil where no plan lies beside the model.
    package var headline: Headline?

    package init(existence: ExistenceReport, headline: Headline?) {
      (self.existence, self.headline) = (existence, headline)
    }
  }

  package init(version: String, models: [Model], nearestRows: NearestRows?) {
    (self.version, self.models, self.nearestRows) = (version, models, nearestRows)
  }

  /// One line of JSON, keys in alphabetical order.
  package func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }

  /// What ``json()`` wrote.
  package init(json: String) throws {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    self = try decoder.decode(Self.self, from: Data(json.utf8))
  }
}
