import DejaVu
package import DejaVuCPU
package import DejaVuCore
import Foundation

/// What `dejavu bench --gather` found, for programs (``json``) and for people (``text``).
package struct GatherReport: Codable, Hashable, Sendable {
  package static let schema = "dejavu/bench-gather/1"

  package var schema = Self.schema
  package let shape: String
  package let dtype: String
  /// Always: the weights are random numbers.
  package var synthetic = true
  package let hidden: Int
  package let neurons: Int
  /// Different layers gone through in turn.
  package let layers: Int
  package let rounds: Int
  package let seed: UInt64
  package let processor: String
  package let instructionSet: String
  package var bandwidth: [SpeedReport.BandwidthRow] = []
  package var gather: [Row] = []

  package init(
    shape: String, options: GatherBench.Options, hidden: Int, neurons: Int, layers: Int
  ) {
    self.shape = shape
    dtype = options.dtype.rawValue
    self.hidden = hidden
    self.neurons = neurons
    self.layers = layers
    rounds = options.rounds
    seed = options.seed
    processor = Machine.processor
    instructionSet = options.instructionSet.rawValue
  }

  private enum CodingKeys: String, CodingKey {
    case schema, shape, dtype, synthetic, hidden, neurons, layers, rounds, seed, processor
    case bandwidth, gather
    case instructionSet = "instruction_set"
  }

  /// One way of multiplying at one density.
  package struct Row: Codable, Hashable, Sendable {
    package let shape: String
    package let synthetic: Bool
    package let dtype: String
    package let threads: Int
    package let density: Figure
    package let neurons: Int
    package let layout: String
    package let method: String
    package let milliseconds: Latency
    package let bytesRead: Figure
    package let bytesWritten: Figure
    package let rate: Figure
    /// Time and bytes by those of fused rows at the same density.
    package var timeOverFused = Figure(nil)
    package var bytesOverFused = Figure(nil)

    package init(
      shape: String, dtype: DType, threads: Int, density: Double, neurons: Int,
      variant: GatherProducts.Variant, milliseconds: [Double], read: Double, written: Double
    ) {
      self.shape = shape
      synthetic = true
      self.dtype = dtype.rawValue
      self.threads = threads
      self.density = Figure(density)
      self.neurons = neurons
      layout = variant.layout.rawValue
      method = variant.method.rawValue
      self.milliseconds = Latency(milliseconds)
      bytesRead = Figure(read)
      bytesWritten = Figure(written)
      rate = Figure((read + written) / 1e6 / max(Statistics.median(milliseconds), 1e-9))
    }

    private enum CodingKeys: String, CodingKey {
      case shape, synthetic, dtype, threads, density, neurons, layout, method
      case milliseconds = "ms"
      case bytesRead = "bytes_read"
      case bytesWritten = "bytes_written"
      case rate = "gb_per_s"
      case timeOverFused = "time_over_fused"
      case bytesOverFused = "bytes_over_fused"
    }

    var bytes: Double { (bytesRead.value ?? 0) + (bytesWritten.value ?? 0) }
  }

  /// Sets every row against fused rows of the same threads and density.
  package mutating func compareWithFused() {
    for index in gather.indices {
      let row = gather[index]
      let fused = gather.first {
        $0.layout == "rows" && $0.method == "fused" && $0.threads == row.threads
          && $0.density == row.density
      }
      guard let fused, let base = fused.milliseconds.median.value, base > 0, fused.bytes > 0,
        let time = row.milliseconds.median.value
      else { continue }
      gather[index].timeOverFused = Figure(time / base)
      gather[index].bytesOverFused = Figure(row.bytes / fused.bytes)
    }
  }

  /// One line of JSON, keys in alphabetical order.
  package func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }

  /// The report as tables.
  package var text: String {
    let yardsticks = bandwidth.map {
      "bandwidth  \($0.threads) thread\($0.threads == 1 ? "" : "s"): \($0.median.text(2)) GB/s "
        + "(\($0.lowest.text(2))–\($0.highest.text(2)))\n"
    }
    return """
      machine    \(processor), \(instructionSet)
      rows       one token's MLP of \(shape), \(hidden) × \(neurons), \(dtype), synthetic weights
      method     medians of \(rounds) rounds over \(layers) layers, another random set each time

      """ + yardsticks.joined() + "\n" + table.text + """

        note: layout 'rows' has a neuron's two rows side by side; 'columns' has W2 as checkpoints do, \
        a neuron in a column
        note: bytes are whole cache lines of weights, those that a copy writes included; a copy that \
        stays in the cache costs less than its bytes

        """
  }

  private var table: TextTable {
    var table = TextTable([
      .number("threads"), .number("density"), .word("layout"), .word("method"), .number("ms"),
      .number("p95"), .number("MB read"), .number("MB written"), .number("GB/s"),
      .number("time/fused"), .number("bytes/fused"),
    ])
    for row in gather {
      table.rows.append([
        "\(row.threads)", row.density.text(2), row.layout, row.method,
        row.milliseconds.median.text(3), row.milliseconds.p95.text(3),
        SpeedReport.megabytes(row.bytesRead), SpeedReport.megabytes(row.bytesWritten),
        row.rate.text(1), row.timeOverFused.text(2), row.bytesOverFused.text(2),
      ])
    }
    return table
  }
}
