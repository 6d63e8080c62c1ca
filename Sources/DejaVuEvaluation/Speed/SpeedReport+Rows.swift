import DejaVuCore
import DejaVuModels

extension SpeedReport {
  /// Probes of the read bandwidth with a number of threads.
  package struct BandwidthRow: Codable, Hashable, Sendable {
    package let threads: Int
    package let median: Figure
    package let lowest: Figure
    package let highest: Figure
    package let probes: Int

    package init(threads: Int, gigabytesPerSecond: [Double]) {
      let spread = Spread(gigabytesPerSecond)
      self.threads = threads
      (median, lowest, highest) = (spread.median, spread.lowest, spread.highest)
      probes = gigabytesPerSecond.count
    }

    private enum CodingKeys: String, CodingKey {
      case threads, lowest, highest, probes
      case median = "read_bandwidth_gb_per_s"
    }
  }

  /// BLAS products of one size, `[tokens, inner] · [inner, columns]`.
  package struct ProductRow: Codable, Hashable, Sendable {
    package let threads: Int
    package let tokens: Int
    package let columns: Int
    package let inner: Int
    package let median: Figure
    package let lowest: Figure
    package let highest: Figure

    package init(
      threads: Int, tokens: Int, columns: Int, inner: Int, gigaflopsPerSecond: [Double]
    ) {
      let spread = Spread(gigaflopsPerSecond)
      self.threads = threads
      self.tokens = tokens
      self.columns = columns
      self.inner = inner
      (median, lowest, highest) = (spread.median, spread.lowest, spread.highest)
    }

    private enum CodingKeys: String, CodingKey {
      case threads, tokens, columns, inner, lowest, highest
      case median = "sgemm_gflops"
    }
  }

  /// Decoding in one mode, with one number of threads, at one depth.
  package struct DecodeRow: Codable, Hashable, Sendable {
    package let shape: String
    package let synthetic: Bool
    package let dtype: String
    package let mode: String
    package let threads: Int
    package let depth: Int
    package let milliseconds: Latency
    package let tokensPerSecond: Figure
    package let bytesPerToken: Figure
    package let rate: Figure
    package let readBandwidth: Figure
    /// Median rate by median bandwidth of the same run.
    package let bandwidthShare: Figure
    /// The same of each round by the probe just before it.
    package let shareByRound: Spread
    package let rounds: [DecodeRound]
    package var speedupOverDense: Figure = Figure(nil)
    /// Densities that a synthetic sparse run was asked for.
    package let askedMLPDensity: Figure
    package let askedHeadDensity: Figure
    package let mlpDensity: Figure
    package let headDensity: Figure
    /// Bytes by those of the dense run.
    package var byteShare: Figure = Figure(nil)
    /// Share of a token's neurons that the next one chooses again, as it came out.
    package let mlpOverlap: Figure
    package let headOverlap: Figure
    package let chooserBytes: Figure
    /// Bytes of inputs kept for skipped heads that were read to settle keys and values.
    package let keptBytes: Figure
    /// Multiplications and additions of the rows really computed.
    package let flops: Figure
    /// From a run that is not timed otherwise.
    package let parts: [PartRow]

    package init(_ figures: DecodeFigures, model: Model, threads: Int, bandwidth: Double?) {
      shape = model.shape
      synthetic = model.synthetic
      dtype = model.dtype
      mode = figures.mode.rawValue
      self.threads = threads
      depth = figures.depth
      milliseconds = Latency(figures.milliseconds)
      tokensPerSecond = Figure(figures.median > 0 ? 1000 / figures.median : nil)
      bytesPerToken = Figure(figures.bytesPerToken)
      rate = Figure(figures.rate)
      readBandwidth = Figure(bandwidth)
      bandwidthShare = Figure(bandwidth.map { figures.rate / $0 })
      shareByRound = Spread(figures.rounds.map(\.share))
      let isSparse = figures.mode == .sparse
      askedMLPDensity = Figure(figures.point?.mlpDensity)
      askedHeadDensity = Figure(figures.point?.headDensity)
      mlpDensity = Figure(figures.density(\.neuronRows, of: \.neuronRowsOfAll))
      headDensity = Figure(figures.density(\.headRows, of: \.headRowsOfAll))
      mlpOverlap = Figure(figures.overlap.mean(.neurons))
      headOverlap = Figure(figures.overlap.mean(.heads))
      chooserBytes = Figure(isSparse ? figures.perToken(\.chooser) : nil)
      keptBytes = Figure(isSparse ? figures.perToken(\.keptInputs) : nil)
      flops = Figure(figures.perToken(\.flops))
      parts = figures.parts
      rounds = figures.rounds.map {
        DecodeRound(
          milliseconds: Figure(Statistics.median($0.milliseconds)), rate: Figure($0.rate),
          readBandwidth: Figure($0.probe), bandwidthShare: Figure($0.share))
      }
    }

    private enum CodingKeys: String, CodingKey {
      case shape, synthetic, dtype, mode, threads, depth, rounds, parts
      case milliseconds = "ms_per_token"
      case tokensPerSecond = "tokens_per_second"
      case bytesPerToken = "bytes_per_token"
      case rate = "gb_per_s"
      case readBandwidth = "read_bandwidth_gb_per_s"
      case bandwidthShare = "bandwidth_share"
      case shareByRound = "bandwidth_share_by_round"
      case speedupOverDense = "speedup_over_dense"
      case flops = "flops_per_token"
      case askedMLPDensity = "asked_mlp_density"
      case askedHeadDensity = "asked_head_density"
      case mlpDensity = "mlp_density"
      case headDensity = "head_density"
      case byteShare = "byte_share"
      case mlpOverlap = "mlp_overlap"
      case headOverlap = "head_overlap"
      case chooserBytes = "chooser_bytes_per_token"
      case keptBytes = "kept_bytes_per_token"
    }
  }

  package struct DecodeRound: Codable, Hashable, Sendable {
    package let milliseconds: Figure
    package let rate: Figure
    package let readBandwidth: Figure
    package let bandwidthShare: Figure

    private enum CodingKeys: String, CodingKey {
      case milliseconds = "ms_per_token"
      case rate = "gb_per_s"
      case readBandwidth = "read_bandwidth_gb_per_s"
      case bandwidthShare = "bandwidth_share"
    }
  }

  /// Prompts of one length with one number of threads, from an empty cache.
  package struct PromptRow: Codable, Hashable, Sendable {
    package let shape: String
    package let synthetic: Bool
    package let dtype: String
    package let mode: String
    package let threads: Int
    package let depth: Int
    package let tokens: Int
    /// What the products are multiplied in: float32 or bfloat16.
    package let arithmetic: String
    package let milliseconds: Latency
    package let tokensPerSecond: Figure
    package let flops: Figure
    package let gflops: Figure
    package let sgemmGflops: Figure
    package let sgemmShare: Figure
    package let shareByRound: Spread
    package let rounds: [PromptRound]
    /// Largest difference of a logit to float32 arithmetic by the largest logit.
    package var logitError: Figure = Figure(nil)

    package init(_ figures: PromptFigures, model: Model, threads: Int, arithmetic: String) {
      let products = figures.products
      let sgemm = products.isEmpty ? nil : Statistics.median(products)
      shape = model.shape
      synthetic = model.synthetic
      dtype = model.dtype
      mode = "dense"
      self.threads = threads
      depth = 0
      tokens = figures.tokens
      self.arithmetic = arithmetic
      milliseconds = Latency(figures.milliseconds)
      tokensPerSecond = Figure(
        figures.median > 0 ? 1000 * Double(figures.tokens) / figures.median : nil)
      flops = Figure(figures.flops)
      gflops = Figure(figures.gigaflopsPerSecond)
      sgemmGflops = Figure(sgemm)
      sgemmShare = Figure(sgemm.map { figures.gigaflopsPerSecond / $0 })
      rounds = figures.rounds.map { round in
        let rate = figures.rate(round.milliseconds)
        return PromptRound(
          milliseconds: Figure(round.milliseconds), gflops: Figure(rate),
          sgemmGflops: Figure(round.product), sgemmShare: Figure(round.product.map { rate / $0 }))
      }
      shareByRound = Spread(rounds.compactMap(\.sgemmShare.value))
    }

    private enum CodingKeys: String, CodingKey {
      case shape, synthetic, dtype, mode, threads, depth, tokens, arithmetic, flops, gflops, rounds
      case milliseconds = "ms"
      case tokensPerSecond = "tokens_per_second"
      case sgemmGflops = "sgemm_gflops"
      case sgemmShare = "sgemm_share"
      case shareByRound = "sgemm_share_by_round"
      case logitError = "logit_error"
    }
  }

  package struct PromptRound: Codable, Hashable, Sendable {
    package let milliseconds: Figure
    package let gflops: Figure
    package let sgemmGflops: Figure
    package let sgemmShare: Figure

    private enum CodingKeys: String, CodingKey {
      case gflops
      case milliseconds = "ms"
      case sgemmGflops = "sgemm_gflops"
      case sgemmShare = "sgemm_share"
    }
  }
}
