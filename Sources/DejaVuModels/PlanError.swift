import DejaVuFormats

/// Why no plan can be followed as asked.
///
/// Every case carries both sides of the disagreement; `description` is one sentence that ends in
/// what to do.
@nonexhaustive
public enum PlanError: Error, Hashable, Sendable {
  /// No file of plans lies beside the model.
  case noPlans(folder: String)
  /// The file has no plan of this name.
  case unknown(name: String, path: String, known: [String])
  /// No two stored plans lie on either side of a density.
  case outside(density: Double, path: String, lowest: Double, highest: Double)
  /// Plans are stored, but the density of none was measured.
  case noDensities(path: String)
  /// Plans are followed by the CPU backend only.
  case noBackend
}

extension PlanError: CustomStringConvertible {
  /// One sentence that ends in what to do.
  public var description: String {
    switch self {
    case .noPlans(let folder):
      "no plans lie beside the model '\(escaped(folder))'; make one with 'dejavu calibrate'"
    case .unknown(let name, let path, let known):
      "'\(escaped(path))' has no plan '\(escaped(name))', "
        + (known.isEmpty
          ? "nor any other; make one with 'dejavu calibrate'"
          : "but \(known.map { "'\(escaped($0))'" }.joined(separator: ", ")); take one of them or "
            + "make another with 'dejavu calibrate'")
    case .outside(let density, let path, let lowest, let highest):
      "a density of \(Self.text(density)) is outside \(Self.text(lowest)) to "
        + "\(Self.text(highest)), between which the plans in '\(escaped(path))' lie; make another "
        + "plan with 'dejavu calibrate --density \(density)'"
    case .noDensities(let path):
      "the plans in '\(escaped(path))' say nothing of their density; make them anew with "
        + "'dejavu calibrate'"
    case .noBackend: "plans are followed on the CPU only; take --sparsity off"
    }
  }

  private static func text(_ share: Double) -> String { String((share * 1e4).rounded() / 1e4) }
}
