/// Bits of a vector, and of the factors of a sum of rows, where they meet groupwise rows.
///
/// Rounded with a step per group, a number is off by at most 2^-16 or 2^-8 of the greatest of its group.
public enum ActivationBits: Int, CaseIterable, Hashable, Sendable {
  /// As good as exact: the default.
  case sixteen = 16
  /// Half of the products, for machines whose memory is faster than their arithmetic.
  case eight = 8
}
