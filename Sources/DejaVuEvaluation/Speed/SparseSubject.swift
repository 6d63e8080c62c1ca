package import DejaVu
package import DejaVuModels

/// What sparse runs of a benchmark follow.
package struct SparseSubject {
  package let description: SpeedReport.SparsityRow
  /// Makes the choosers for an engine.
  package let make: (Engine) throws -> Sparsity

  package init(
    description: SpeedReport.SparsityRow, make: @escaping (Engine) throws -> Sparsity
  ) {
    self.description = description
    self.make = make
  }

  /// Random choosers of a synthetic model, tuned on the engine that they are for.
  package init(synthetic options: SyntheticSparsity.Options) {
    let asked = { (density: Double, overlap: Double) in Figure(density < 1 ? overlap : nil) }
    description = SpeedReport.SparsityRow(
      plan: "synthetic", window: options.window, mlpDensity: Figure(options.mlpDensity),
      headDensity: Figure(options.headDensity), rank: options.rank, bits: options.bits,
      mlpOverlap: asked(options.mlpDensity, options.mlpOverlap),
      headOverlap: asked(options.headDensity, options.headOverlap))
    make = { engine in
      let made = SyntheticSparsity(architecture: engine.model.architecture, options: options)
      try made.tune(on: engine)
      return made.sparsity
    }
  }
}

extension SpeedReport {
  /// What sparse rows were asked to do; `null` where a stored plan says it layer by layer.
  package struct SparsityRow: Codable, Hashable, Sendable {
    package let plan: String
    package let window: Int
    package let mlpDensity: Figure
    package let headDensity: Figure
    package let rank: Int?
    package let bits: Int?
    package let mlpOverlap: Figure
    package let headOverlap: Figure

    package init(
      plan: String, window: Int, mlpDensity: Figure = Figure(nil),
      headDensity: Figure = Figure(nil), rank: Int? = nil, bits: Int? = nil,
      mlpOverlap: Figure = Figure(nil), headOverlap: Figure = Figure(nil)
    ) {
      self.plan = plan
      self.window = window
      self.mlpDensity = mlpDensity
      self.headDensity = headDensity
      self.rank = rank
      self.bits = bits
      self.mlpOverlap = mlpOverlap
      self.headOverlap = headOverlap
    }

    private enum CodingKeys: String, CodingKey {
      case plan, window
      case mlpDensity = "asked_mlp_density"
      case headDensity = "asked_head_density"
      case rank = "predictor_rank"
      case bits = "predictor_bits"
      case mlpOverlap = "asked_mlp_overlap"
      case headOverlap = "asked_head_overlap"
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(plan, forKey: .plan)
      try container.encode(window, forKey: .window)
      try container.encode(mlpDensity, forKey: .mlpDensity)
      try container.encode(headDensity, forKey: .headDensity)
      // Null, not left out, where there is none: keys are always there.
      try container.encode(rank, forKey: .rank)
      try container.encode(bits, forKey: .bits)
      try container.encode(mlpOverlap, forKey: .mlpOverlap)
      try container.encode(headOverlap, forKey: .headOverlap)
    }
  }

  /// What a part of a token's step takes.
  package struct PartRow: Codable, Hashable, Sendable {
    package let part: String
    package let milliseconds: Figure
    package let bytes: Figure

    package init(part: String, milliseconds: Double, bytes: Double) {
      self.part = part
      self.milliseconds = Figure(milliseconds)
      self.bytes = Figure(bytes)
    }

    private enum CodingKeys: String, CodingKey {
      case part
      case milliseconds = "ms_per_token"
      case bytes = "bytes_per_token"
    }
  }
}
