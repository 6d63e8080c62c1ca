package import DejaVuCPU
package import DejaVuCore

/// GPTQ: rounds a matrix input by input, and lets the inputs that follow make up for the error.
///
/// With d = w − q, one vector over the inputs for every output, the squared error of what the matrix
/// gives over the calibration text is dᵀ H d = ‖T d‖², H = Tᵀ T being the inputs' second moments and
/// T upper triangular. Component k of T d depends on d[k...] only, so the walk goes from the last
/// input to the first: q[k] is the code nearest to w[k] + Σ_{j > k} T[k, j] d[j] / T[k, k], which is
/// where component k would vanish. (Frantar et al., 2023, go forward through an inverse; this is the
/// same walk without one.)
package struct FeedbackRounding {
  /// How groups lie in the matrix `[inputs, outputs]`.
  package enum Groups: Hashable, Sendable {
    /// Rows of the engine are inputs (W_O, W2): every input has scales of its own, which are found
    /// when its turn comes.
    case alongOutputs
    /// Rows of the engine are outputs (W_Q, W_K, W_V, gate, up): neighbouring inputs share a scale
    /// for each output.
    case alongInputs
  }

  package let fit: GroupFit
  package let groups: Groups
  let arithmetic: DenseArithmetic
  /// Inputs that are rounded between products of whole blocks; a multiple of every group.
  static let block = 128

  package init(_ fit: GroupFit, groups: Groups, arithmetic: DenseArithmetic) {
    self.fit = fit
    self.groups = groups
    self.arithmetic = arithmetic
  }

  /// The order in which inputs are rounded: by their number, or the strongest first.
  package static func sequence(_ moments: InputMoments, byStrength: Bool) -> [Int] {
    guard byStrength else { return Array(0..<moments.width) }
    let strength = moments.meanSquares
    return (0..<moments.width).sorted { (strength[$0], $1) > (strength[$1], $0) }
  }

  /// Rounds a matrix.
  ///
  /// - Parameters:
  ///   - weights: `[inputs, outputs]`, finite.
  ///   - outputs: of the matrix.
  ///   - moments: of its inputs.
  ///   - sequence: the order in which inputs are rounded. Where it is not that of their numbers and
  ///     groups lie along inputs, scales are found before the walk.
  ///   - damping: what is added to the diagonal of H, in units of its mean.
  /// - Returns: the engine's rows; nil where H is not positive definite for all the damping.
  package func round(
    _ weights: CPUBuffer, outputs: Int, moments: InputMoments, sequence: [Int], damping: Float
  ) -> [GroupwiseRow]? {
    // The first to be rounded stands last.
    let order = Array(sequence.reversed())
    let factor = moments.damped(order: order, damping: damping)
    guard TriangularFactor.factor(factor, width: moments.width, arithmetic: arithmetic) else {
      return nil
    }
    let walk = RoundingWalk(
      rounding: self, weights: weights, outputs: outputs, factor: factor, order: order)
    walk.run()
    return walk.result()
  }
}
