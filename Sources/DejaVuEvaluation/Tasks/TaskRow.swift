import DejaVuJSON

/// One row of a data file with the errors that name it.
struct TaskRow {
  let json: JSON
  let path: String
  /// From 1.
  let line: Int

  func error(_ reason: String) -> TaskError { .malformed(path: path, line: line, reason: reason) }

  func has(_ key: String) -> Bool { json[key] != nil }

  /// The text behind the first of `keys` that is there.
  func text(_ keys: String...) throws(TaskError) -> String {
    for key in keys {
      if let value = json[key] {
        guard let text = value.text else { throw error("'\(key)' is \(value.kind), not a string") }
        return text
      }
    }
    throw error("'\(keys.joined(separator: "' or '"))' is missing")
  }

  /// Texts of an array of at least two.
  func texts(_ key: String) throws(TaskError) -> [String] {
    guard let elements = json[key]?.elements else { throw error("'\(key)' is no array") }
    return try Self.texts(elements, self, key)
  }

  static func texts(
    _ elements: [JSON], _ row: TaskRow, _ key: String
  ) throws(TaskError) -> [String] {
    let texts = elements.compactMap(\.text)
    guard texts.count == elements.count, (2...1000).contains(texts.count) else {
      throw row.error("'\(key)' should be 2 to 1000 strings")
    }
    return texts
  }

  /// A label that is a number from 0, a name among `names`, or a boolean where there are two.
  func label(
    _ keys: String..., names: [String] = [], count: Int
  ) throws(TaskError) -> Int {
    for key in keys {
      guard let value = json[key] else { continue }
      let number =
        value.integer ?? value.bool.map { $0 ? 1 : 0 }
        ?? value.text.flatMap { names.firstIndex(of: $0) ?? Int($0) }
      guard let number, (0..<count).contains(number) else {
        let wanted = names.isEmpty ? "" : " or one of \(names.joined(separator: ", "))"
        throw error("'\(key)' is not a number from 0 to \(count - 1)\(wanted)")
      }
      return number
    }
    throw error("the label '\(keys.joined(separator: "' or '"))' is missing")
  }
}
