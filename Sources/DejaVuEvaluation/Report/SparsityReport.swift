import Foundation

/// Everything that `dejavu report` shows, of one or several models.
package struct SparsityReport: Codable, Hashable, Sendable {
  package static let schema = "dejavu/report/1"

  package var schema = Self.schema
  package var version: String
  /// Of the checkout that the program lies in; nil for one that was installed elsewhere.
  package var commit: String?
  package var models: [Model]
  package var nearestRows: [NearestRows]
  /// Sweeps that were made before.
  package var sweeps: [SweepReport]

  package struct Model: Codable, Hashable, Sendable {
    package var existence: ExistenceReport
    /// nil where no plan lies beside the model.
    package var headline: Headline?
    /// The oracle, and the plan, through tasks; nil where none were given.
    package var tasks: SweepReport?

    package init(
      existence: ExistenceReport, headline: Headline?, tasks: SweepReport? = nil
    ) {
      (self.existence, self.headline, self.tasks) = (existence, headline, tasks)
    }
  }

  package init(
    version: String, commit: String? = nil, models: [Model], nearestRows: [NearestRows],
    sweeps: [SweepReport] = []
  ) {
    (self.version, self.commit, self.models) = (version, commit, models)
    (self.nearestRows, self.sweeps) = (nearestRows, sweeps)
  }

  /// One line of JSON, keys in alphabetical order.
  package func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }

  /// What ``json()`` wrote, from a file that may be anything.
  ///
  /// - Throws: ``ReportError/notReport(_:)``.
  package init(earlier json: [UInt8]) throws(ReportError) {
    do { self = try Self(json: String(decoding: json, as: UTF8.self)) } catch {
      throw .notReport("\(error)")
    }
    guard schema == Self.schema else {
      throw .notReport("its schema is '\(schema)', not '\(Self.schema)'")
    }
  }

  /// What ``json()`` wrote.
  package init(json: String) throws {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    self = try decoder.decode(Self.self, from: Data(json.utf8))
  }
}
