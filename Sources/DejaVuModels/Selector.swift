package import DejaVuCore

/// Chooses, layer by layer, the rows that a step computes.
///
/// Called on the step's own thread, in layer order, heads before neurons. A selector may look at
/// the stream and launch the next layer's choice beside the work of this one.
package protocol Selector<B> {
  associatedtype B: Backend
  /// S_A of `layer`; `x` is the stream at its input.
  func heads(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows>
  /// S_M of `layer`; `x` is the stream behind its attention.
  func neurons(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows>
}

/// Every row of every layer: the dense model.
package struct EveryRow<B: Backend>: Selector {
  package init() {}
  package func heads(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows> { .all }
  package func neurons(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows> { .all }
}

/// All heads and all up rows, and only those down rows whose activation is not zero.
package struct NonzeroRows<B: Backend>: Selector {
  package init() {}
  package func heads(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows> { .all }
  package func neurons(for layer: Int, seeing x: B.Buffer) -> RowChoice<B.Rows> { .nonzero }
}
