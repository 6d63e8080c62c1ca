/// How the rows of a matrix are divided into groups of codes.
///
/// A weight is (code − zero) · scale; codes have `bits` bits, and every `group` neighbours of a row
/// share a scale and a zero. The last group of a row is shorter where the row is no multiple.
package struct GroupFormat: Hashable, Sendable {
  package static let knownBits = [2, 3, 4, 6, 8]
  package static let knownGroups = [32, 64, 128]

  package let bits: Int
  package let group: Int
  /// Whether every zero is the middle of the codes, a half-integer, and none is stored.
  package let isSymmetric: Bool

  /// - Precondition: bits and group are among the known ones.
  package init(bits: Int, group: Int, isSymmetric: Bool) {
    precondition(Self.knownBits.contains(bits), "codes of \(bits) bits")
    precondition(Self.knownGroups.contains(group), "groups of \(group) weights")
    self.bits = bits
    self.group = group
    self.isSymmetric = isSymmetric
  }

  package var greatestCode: Int { (1 << bits) - 1 }
  /// The zero of symmetric groups.
  package var middle: Float { Float(greatestCode) / 2 }

  package func groups(columns: Int) -> Int { (columns + group - 1) / group }

  /// Bytes of a stored row's codes.
  package func codeBytes(columns: Int) -> Int { (columns * bits + 7) / 8 }

  /// Bytes of a stored row: codes, and two each for every scale and stored zero.
  package func rowBytes(columns: Int) -> Int {
    codeBytes(columns: columns) + groups(columns: columns) * (isSymmetric ? 2 : 4)
  }
}
