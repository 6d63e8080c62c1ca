/// Two runs that should have agreed, and where they first did not.
package struct Disagreement: Error, CustomStringConvertible {
  package let description: String
}

/// - Throws: ``Disagreement`` at the first position whose logits lie further apart than allowed.
package func expectClose(
  _ found: [[Float]], _ expected: [[Float]], within tolerance: Tolerance, _ claim: String
) throws(Disagreement) {
  guard found.count == expected.count else {
    throw Disagreement(description: "\(claim): \(found.count) rows, not \(expected.count)")
  }
  for (position, (left, right)) in zip(found, expected).enumerated() {
    let norm = Double(right.reduce(0) { max($0, abs($1)) })
    for i in right.indices where !tolerance.allows(left[i], Double(right[i]), norm: norm) {
      throw Disagreement(
        description: """
          \(claim): logit \(i) at position \(position) is \(left[i]), not \(right[i]); \
          allowed are \(tolerance) and the norm is \(norm)
          """)
    }
  }
}

/// - Throws: ``Disagreement`` at the first position whose logits are not the same bits.
package func expectSameBits(
  _ found: [[Float]], _ expected: [[Float]], _ claim: String
) throws(Disagreement) {
  guard found.count == expected.count else {
    throw Disagreement(description: "\(claim): \(found.count) rows, not \(expected.count)")
  }
  for (position, (left, right)) in zip(found, expected).enumerated() {
    for i in right.indices where left[i].bitPattern != right[i].bitPattern {
      throw Disagreement(
        description: "\(claim): logit \(i) at position \(position) is \(left[i]), not \(right[i])")
    }
  }
}
