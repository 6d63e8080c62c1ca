package import DejaVuCore

/// How far a result may lie from its definition, and why.
///
/// The bound is relative to a norm: the sum of the magnitudes that were added up, or the greatest
/// magnitude of the vector that the result belongs to.
package struct Tolerance: Sendable, CustomStringConvertible {
  package let bound: Double
  package let reason: String

  package init(_ bound: Double, because reason: String) {
    self.bound = bound
    self.reason = reason
  }

  package var description: String { "\(bound) of the norm (\(reason))" }

  package func allows(_ found: Float, _ expected: Double, norm: Double) -> Bool {
    abs(Double(found) - expected) <= bound * norm
  }

  /// Half a unit in the last place of a float, relative.
  package static let unit = 0x1p-24

  /// A sum of `terms` products in float32, relative to the sum of their magnitudes.
  package static func sum(of terms: Int) -> Tolerance {
    Tolerance(
      (8 + 2 * Double(terms).squareRoot()) * unit,
      because: "float32 rounding errors of \(terms) terms wander")
  }

  /// The same with both operands rounded to bfloat16.
  package static func brainSum(of terms: Int) -> Tolerance {
    Tolerance(
      2 * 0x1p-8 + 0x1p-16 + sum(of: terms).bound, because: "each operand is rounded to 8 bits")
  }

  /// A function computed in float32 from exact arguments.
  package static let function = Tolerance(
    16 * unit, because: "polynomials and library functions are good to a few last places")

  /// A norm's output, relative to its greatest element.
  package static func norm(of width: Int) -> Tolerance {
    Tolerance(
      32 * unit + sum(of: width).bound, because: "mean and variance are float32 sums")
  }

  /// Logits against the reference's, relative to the greatest.
  ///
  /// - Parameter cache: the type both store keys and values in; the two may round one differently.
  /// - Returns: a bound for float32 products; those in bfloat16 have ``brainLogits``.
  package static func logits(cache: DType) -> Tolerance {
    switch cache {
    case .float32: Tolerance(1e-5, because: "float32 sums in every block")
    case .float16: Tolerance(1e-3, because: "a key may fall to the other side of 2^-11")
    case .bfloat16: Tolerance(8e-3, because: "a key may fall to the other side of 2^-8")
    }
  }

  /// Logits over groupwise rows against the reference's, which does not round what meets them.
  ///
  /// A rounded number is off by 2^-16 of the greatest of its group. A tiny model's logit lies behind
  /// twelve such products at most, four in each of its layers, whose errors may double on the way.
  package static let groupwiseLogits = Tolerance(
    12 * 0x1p-15 + 3e-5, because: "twelve products round vectors or factors to 16 bits")

  /// The same with vectors and factors rounded to 8 bits, off by 2^-8 of the greatest of their group.
  package static let narrowLogits = Tolerance(
    12 * 0x1p-7, because: "twelve products round vectors or factors to 8 bits")

  /// Logits of prompts whose products are computed in bfloat16.
  package static let brainLogits = Tolerance(
    6e-2, because: "streams are rounded to 8 bits before every product of three layers")
}
