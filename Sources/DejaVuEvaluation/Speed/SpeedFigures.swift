package import DejaVuCore
package import DejaVuModels

/// Decode runs at one depth in one mode.
package struct DecodeFigures: Sendable {
  /// One run and the bandwidth probe just before it.
  package struct Round: Sendable {
    package let milliseconds: [Double]
    package let tally: Tally
    /// Gigabytes per second.
    package let probe: Double

    package init(milliseconds: [Double], tally: Tally, probe: Double) {
      self.milliseconds = milliseconds
      self.tally = tally
      self.probe = probe
    }

    package var bytesPerToken: Double { Double(tally.bytes) / Double(max(tally.tokens, 1)) }
    /// Gigabytes per second.
    package var rate: Double {
      bytesPerToken / 1e6 / max(Statistics.median(milliseconds), 1e-9)
    }
    package var share: Double { rate / max(probe, 1e-9) }
  }

  package let mode: RunMode
  package let depth: Int
  /// What a sparse run was asked for; nil of others, and of stored plans.
  package let point: SparsePoint?
  package var rounds: [Round] = []
  /// Where time and bytes go, from a run of its own.
  package var parts: [SpeedReport.PartRow] = []
  /// How much of its rows a token shares with the next one, from a run of its own.
  package var overlap = SetOverlap()

  package init(mode: RunMode, depth: Int, point: SparsePoint? = nil) {
    self.mode = mode
    self.depth = depth
    self.point = point
  }

  package var milliseconds: [Double] { rounds.flatMap(\.milliseconds) }
  package var median: Double { Statistics.median(milliseconds) }
  package var p95: Double { Statistics.percentile(milliseconds, 0.95) }
  package var bytesPerToken: Double { perToken(\.bytes) }

  /// A count of all rounds by their tokens.
  package func perToken(_ count: KeyPath<Tally, Int>) -> Double {
    Double(total(count)) / Double(max(total(\.tokens), 1))
  }

  /// Rows computed by rows there are; nil unless the run was sparse.
  package func density(
    _ computed: KeyPath<Tally, Int>, of all: KeyPath<Tally, Int>
  ) -> Double? {
    mode == .sparse ? Double(total(computed)) / Double(max(total(all), 1)) : nil
  }

  private func total(_ count: KeyPath<Tally, Int>) -> Int {
    rounds.reduce(0) { $0 + $1.tally[keyPath: count] }
  }

  /// Gigabytes per second that decoding reached.
  package var rate: Double { bytesPerToken / 1e6 / max(median, 1e-9) }
}

/// Prompts of one length.
package struct PromptFigures: Sendable {
  /// One prompt and the BLAS product just before it.
  package struct Round: Sendable {
    package let milliseconds: Double
    /// GFLOP/s; nil where there is no BLAS.
    package let product: Double?

    package init(milliseconds: Double, product: Double?) {
      self.milliseconds = milliseconds
      self.product = product
    }
  }

  package let tokens: Int
  package let flops: Double
  package var rounds: [Round] = []

  package init(tokens: Int, flops: Double) {
    self.tokens = tokens
    self.flops = flops
  }

  package var milliseconds: [Double] { rounds.map(\.milliseconds) }
  package var products: [Double] { rounds.compactMap(\.product) }
  package var median: Double { Statistics.median(milliseconds) }
  package var gigaflopsPerSecond: Double { rate(median) }

  package func rate(_ milliseconds: Double) -> Double { flops / 1e6 / max(milliseconds, 1e-9) }
}
