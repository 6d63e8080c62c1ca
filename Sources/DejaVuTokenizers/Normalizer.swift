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
    case .composed: Self.isSurelyComposed(text) ? text : CanonicalComposition.compose(text)[...]
    }
  }

  /// Whether all scalars are below U+0300, where nothing composes.
  private static func isSurelyComposed(_ text: ArraySlice<UInt8>) -> Bool {
    text.allSatisfy { $0 < 0xCC }
  }
}
