import Foundation

/// What happens to text before it is cut into words.
enum Normalizer: Hashable, Sendable {
  case none
  /// Unicode normal form C.
  case composed

  init(_ field: FileField) throws(TokenizerError) {
    self = .none
    guard !field.isAbsent else { return }
    switch try field.type() {
    case "NFC":
      self = .composed
    case "Sequence":
      for step in try field.member("normalizers").elements() {
        if case .composed = try Normalizer(step) { self = .composed }
      }
    case let other:
      throw field.unsupported(other, supported: "NFC or no normalizer")
    }
  }

  func apply(to text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    switch self {
    case .none: text
    case .composed: Self.isSurelyComposed(text) ? text : Self.compose(text)
    }
  }

  /// Whether all scalars are below U+0300, where nothing composes.
  private static func isSurelyComposed(_ text: ArraySlice<UInt8>) -> Bool {
    text.allSatisfy { $0 < 0xCC }
  }

  /// Marks are put in their canonical order first: the result is the same, but Foundation takes
  /// quadratic time for a long run of marks that are out of order.
  private static func compose(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let ordered = canonicallyOrdered(String(decoding: text, as: UTF8.self))
    return Array(ordered.precomposedStringWithCanonicalMapping.utf8)[...]
  }

  private static func canonicallyOrdered(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    var marks: [Unicode.Scalar] = []
    func flush() {
      // A stable sort, as canonical ordering is.
      if marks.count > 1 { marks.sort { combiningClass(of: $0) < combiningClass(of: $1) } }
      result.append(contentsOf: marks)
      marks.removeAll(keepingCapacity: true)
    }
    for scalar in text.unicodeScalars {
      let parts = Self.startersMadeOfMarks[scalar] ?? [scalar]
      for part in parts {
        if combiningClass(of: part) == 0 {
          flush()
          result.append(part)
        } else {
          marks.append(part)
        }
      }
    }
    flush()
    return String(result)
  }

  private static func combiningClass(of scalar: Unicode.Scalar) -> UInt8 {
    scalar.value < 0x300 ? 0 : scalar.properties.canonicalCombiningClass.rawValue
  }

  /// The only scalars of class zero that decompose into marks alone.
  private static let startersMadeOfMarks: [Unicode.Scalar: [Unicode.Scalar]] = [
    "\u{F73}": ["\u{F71}", "\u{F72}"], "\u{F75}": ["\u{F71}", "\u{F74}"],
    "\u{F81}": ["\u{F71}", "\u{F80}"],
  ]
}
