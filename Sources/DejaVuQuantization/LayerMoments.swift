package import DejaVuCPU
package import DejaVuCore

/// Second moments of everything that the matrices of one block read.
package struct LayerMoments {
  /// What W_Q, W_K and W_V read, `[D]`, behind the norm.
  package let attention: InputMoments
  /// What W_O reads, `[H · h]`.
  package let context: InputMoments
  /// What gate and up read, `[D]`, behind the norm.
  package let mlp: InputMoments
  /// What W2 reads, `[F]`.
  package let activations: InputMoments

  package init(_ a: Architecture, isDiagonal: Bool, arithmetic: DenseArithmetic) {
    func moments(_ width: Int) -> InputMoments {
      InputMoments(width: width, isDiagonal: isDiagonal, arithmetic: arithmetic)
    }
    attention = moments(a.hidden)
    context = moments(a.heads * a.headWidth)
    mlp = moments(a.hidden)
    activations = moments(a.neurons)
  }
}
