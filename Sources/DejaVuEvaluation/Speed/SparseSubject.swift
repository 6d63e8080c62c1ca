package import DejaVu
package import DejaVuModels

/// Densities that a sparse run of a benchmark is asked for.
package struct SparsePoint: Hashable, Sendable {
  /// Share of neurons; 0 leaves the MLP out, 1 computes it whole.
  package let mlpDensity: Double
  /// Share of heads.
  package let headDensity: Double

  package init(mlpDensity: Double, headDensity: Double) {
    self.mlpDensity = mlpDensity
    self.headDensity = headDensity
  }

  /// Every share of neurons with every share of heads.
  ///
  /// Where heads are skipped, two more stand beside them, like for like with engines that skip
  /// neurons only: all heads with the first share of neurons, and all heads with no MLP at all.
  package static func grid(mlpDensities: [Double], headDensities: [Double]) -> [SparsePoint] {
    var points = headDensities.flatMap { heads in
      mlpDensities.map { SparsePoint(mlpDensity: $0, headDensity: heads) }
    }
    let first = mlpDensities.first { $0 > 0 && $0 < 1 }
    if let first, headDensities.contains(where: { $0 < 1 }) {
      let more = [first, 0].map { SparsePoint(mlpDensity: $0, headDensity: 1) }
      points += more.filter { !points.contains($0) }
    }
    return points
  }
}

/// Sparse runs of a benchmark: what each of them follows.
package struct SparseSubject {
  /// One row of the report for every depth.
  package struct Run {
    /// nil where a stored plan says it layer by layer.
    package let point: SparsePoint?
    /// Makes the choosers for an engine.
    package let make: (Engine) throws -> Sparsity

    package init(point: SparsePoint?, make: @escaping (Engine) throws -> Sparsity) {
      self.point = point
      self.make = make
    }
  }

  package let description: SpeedReport.SparsityRow
  package let runs: [Run]

  package init(description: SpeedReport.SparsityRow, runs: [Run]) {
    self.description = description
    self.runs = runs
  }

  /// Random choosers of a synthetic model, tuned on the engine that they are for.
  ///
  /// - Parameters:
  ///   - options: what all points share; their densities do not count.
  ///   - points: one run each.
  package init(synthetic options: SyntheticSparsity.Options, points: [SparsePoint]) {
    let chooses = { (axis: KeyPath<SparsePoint, Double>) in
      points.contains { $0[keyPath: axis] > 0 && $0[keyPath: axis] < 1 }
    }
    description = SpeedReport.SparsityRow(
      plan: "synthetic", window: options.window, rule: options.rule.rawValue, rank: options.rank,
      bits: options.bits,
      mlpOverlap: Figure(chooses(\.mlpDensity) ? options.mlpOverlap : nil),
      headOverlap: Figure(chooses(\.headDensity) ? options.headOverlap : nil))
    runs = points.map { point in
      Run(point: point) { engine in
        var options = options
        (options.mlpDensity, options.headDensity) = (point.mlpDensity, point.headDensity)
        let made = SyntheticSparsity(architecture: engine.model.architecture, options: options)
        try made.tune(on: engine)
        return made.sparsity
      }
    }
  }
}

/// What a sparse run of a benchmark follows on one engine.
package struct SparseRun: Sendable {
  package let point: SparsePoint?
  package let sparsity: Sparsity

  package init(point: SparsePoint?, sparsity: Sparsity) {
    self.point = point
    self.sparsity = sparsity
  }
}

extension SpeedReport {
  /// What all sparse rows share.
  package struct SparsityRow: Codable, Hashable, Sendable {
    package let plan: String
    package let window: Int
    /// How random predictors choose.
    package let rule: String?
    package let rank: Int?
    package let bits: Int?
    package let mlpOverlap: Figure
    package let headOverlap: Figure

    package init(
      plan: String, window: Int, rule: String? = nil, rank: Int? = nil, bits: Int? = nil,
      mlpOverlap: Figure = Figure(nil), headOverlap: Figure = Figure(nil)
    ) {
      self.plan = plan
      self.window = window
      self.rule = rule
      self.rank = rank
      self.bits = bits
      self.mlpOverlap = mlpOverlap
      self.headOverlap = headOverlap
    }

    private enum CodingKeys: String, CodingKey {
      case plan, window, rule
      case rank = "predictor_rank"
      case bits = "predictor_bits"
      case mlpOverlap = "asked_mlp_overlap"
      case headOverlap = "asked_head_overlap"
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(plan, forKey: .plan)
      try container.encode(window, forKey: .window)
      // Null, not left out, where there is none: keys are always there.
      try container.encode(rule, forKey: .rule)
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
    /// Multiplications and additions of the rows really computed.
    package let flops: Figure

    package init(part: String, milliseconds: Double, bytes: Double, flops: Double) {
      self.part = part
      self.milliseconds = Figure(milliseconds)
      self.bytes = Figure(bytes)
      self.flops = Figure(flops)
    }

    private enum CodingKeys: String, CodingKey {
      case part
      case milliseconds = "ms_per_token"
      case bytes = "bytes_per_token"
      case flops = "flops_per_token"
    }
  }
}
