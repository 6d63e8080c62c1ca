extension SpeedReport {
  /// What the model takes and how fast memory is filled.
  package struct MemoryRow: Codable, Hashable, Sendable {
    package var faultIn: [FaultRow] = []
    package var packing: PackingRow?
    /// How soon a model of this folder answers, and a packed one where one was named.
    package var firstToken: [FirstTokenRow] = []
    /// After loading, a prompt and a token; before any probe has memory of its own.
    package var peakBytes: Int?
    package let weightBytes: Int
    package let cacheBytes: Int
    /// Peak by weights and cache together.
    package let peakShare: Figure

    package init(peakBytes: Int?, weightBytes: Int, cacheBytes: Int) {
      self.peakBytes = peakBytes
      self.weightBytes = weightBytes
      self.cacheBytes = cacheBytes
      peakShare = Figure(peakBytes.map { Double($0) / Double(weightBytes + cacheBytes) })
    }

    private enum CodingKeys: String, CodingKey {
      case packing
      case faultIn = "fault_in"
      case firstToken = "first_token"
      case peakBytes = "peak_resident_bytes"
      case weightBytes = "weight_bytes"
      case cacheBytes = "cache_bytes"
      case peakShare = "peak_share"
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(faultIn, forKey: .faultIn)
      try container.encode(packing, forKey: .packing)
      try container.encode(firstToken, forKey: .firstToken)
      try container.encode(peakBytes, forKey: .peakBytes)
      try container.encode(weightBytes, forKey: .weightBytes)
      try container.encode(cacheBytes, forKey: .cacheBytes)
      try container.encode(peakShare, forKey: .peakShare)
    }
  }

  /// First touches of fresh memory.
  package struct FaultRow: Codable, Hashable, Sendable {
    package let threads: Int
    package let median: Figure
    package let lowest: Figure
    package let highest: Figure

    package init(threads: Int, gigabytesPerSecond: [Double]) {
      let spread = Spread(gigabytesPerSecond)
      self.threads = threads
      (median, lowest, highest) = (spread.median, spread.lowest, spread.highest)
    }

    private enum CodingKeys: String, CodingKey {
      case threads, lowest, highest
      case median = "fault_in_gb_per_s"
    }
  }

  /// Packing of a checkpoint, once, from wherever its files were: disk or page cache.
  package struct PackingRow: Codable, Hashable, Sendable {
    package let threads: Int
    package let bytes: Int
    package let milliseconds: Figure
    package let rate: Figure
    /// By the rate at which as many threads of the same run got fresh memory.
    package var faultInShare = Figure(nil)

    package init(threads: Int, bytes: Int, seconds: Double) {
      self.threads = threads
      self.bytes = bytes
      milliseconds = Figure(1000 * seconds)
      rate = Figure(Double(bytes) / 1e9 / max(seconds, 1e-9))
    }

    private enum CodingKeys: String, CodingKey {
      case threads, bytes
      case milliseconds = "ms"
      case rate = "packing_gb_per_s"
      case faultInShare = "fault_in_share"
    }
  }

  /// From opening a folder to the logits behind one token.
  package struct FirstTokenRow: Codable, Hashable, Sendable {
    /// `checkpoint` or `packed`.
    package let source: String
    package let folder: String
    package let threads: Int
    package let loading: Figure
    package let milliseconds: Figure

    package init(
      isPacked: Bool, folder: String, threads: Int, loadSeconds: Double, seconds: Double
    ) {
      source = isPacked ? "packed" : "checkpoint"
      self.folder = folder
      self.threads = threads
      loading = Figure(1000 * loadSeconds)
      milliseconds = Figure(1000 * seconds)
    }

    private enum CodingKeys: String, CodingKey {
      case source, folder, threads
      case loading = "load_ms"
      case milliseconds = "time_to_first_token_ms"
    }
  }
}
