import DejaVuJSON
import Foundation

/// The folder of a model, from which the tokenizer's files are read with bounds.
struct TokenizerFolder {
  /// Twice what the largest known tokenizer files have.
  static let fileLimit = 64 << 20
  static let jsonLimits = JSONLimits(values: 4_000_000)

  let path: String

  func has(_ name: String) -> Bool {
    FileManager.default.fileExists(atPath: location(of: name).path)
  }

  /// The file's bytes, or nil when there is no such file.
  func read(_ name: String) throws(TokenizerError) -> [UInt8]? {
    guard has(name) else { return nil }
    let url = location(of: name).resolvingSymlinksInPath()
    let data: Data
    do {
      let attributes = try FileManager.default.attributesOfItem(atPath: url.path)
      // A pipe or a device would block, or never end.
      guard attributes[.type] as? FileAttributeType == .typeRegular else {
        throw TokenizerError.unreadableFile(path: url.path, reason: "it is not a regular file")
      }
      try check(url, hasAllowed: (attributes[.size] as? NSNumber)?.intValue ?? 0)
      data = try Data(contentsOf: url)
    } catch let error as TokenizerError {
      throw error
    } catch {
      throw .unreadableFile(path: url.path, reason: error.localizedDescription)
    }
    try check(url, hasAllowed: data.count)
    return Array(data)
  }

  private func check(_ url: URL, hasAllowed bytes: Int) throws(TokenizerError) {
    guard bytes <= Self.fileLimit else {
      throw .fileTooLarge(path: url.path, bytes: bytes, limit: Self.fileLimit)
    }
  }

  /// The file as JSON, with an object at the top; an absent file has only absent fields.
  func json(_ name: String) throws(TokenizerError) -> FileField {
    guard let bytes = try read(name) else { return FileField(file: name, value: nil) }
    do {
      let field = FileField(file: name, value: try JSON.parse(bytes, limits: Self.jsonLimits))
      _ = try field.members()
      return field
    } catch let error as JSONError {
      throw .malformedJSON(file: name, reason: error.reason, byteOffset: error.byteOffset)
    } catch let error as TokenizerError {
      throw error
    } catch {
      throw .unreadableFile(path: name, reason: "\(error)")
    }
  }

  private func location(of name: String) -> URL {
    URL(fileURLWithPath: path, isDirectory: true).appendingPathComponent(name)
  }
}
