extension GroupwiseFormat {
  /// Every format that there is.
  public static let all: [GroupwiseFormat] = allBits.flatMap { bits in
    allGroups.flatMap { group in
      [false, true].compactMap { GroupwiseFormat(bits: bits, group: group, hasZeros: $0) }
    }
  }

  /// The format of a ``name``; nil for any other text.
  public init?(name: String) {
    guard let format = Self.all.first(where: { $0.name == name }) else { return nil }
    self = format
  }
}
