package import DejaVuCPU
package import DejaVuCore
import DejaVuFormats

/// Read bandwidth of the machine, probed between the runs that are measured against it.
///
/// A probe is the better of a plain and a prefetching read of at least 1 GiB on huge pages; the
/// figure is the median of the probes.
package final class MemoryBandwidth {
  private static let leastBytes = 1 << 30

  private let probe: BandwidthProbe
  private let region: UnsafeRawBufferPointer
  private let owned: AnonymousMemory?
  /// One figure per probe, in units of 10⁹ bytes a second.
  package private(set) var gigabytesPerSecond: [Double] = []

  /// Chooses the memory to read: `weights`, which lie on huge pages, where they are large enough;
  /// else memory of its own.
  package init(team: ThreadTeam, weights: UnsafeRawBufferPointer?) throws(BackendError) {
    probe = try BandwidthProbe(team: team)
    if let weights, weights.count >= Self.leastBytes {
      region = UnsafeRawBufferPointer(
        rebasing: weights[..<min(weights.count, 2 * Self.leastBytes)])
      owned = nil
    } else {
      let memory = try AnonymousMemory(count: Self.leastBytes, what: "the bandwidth probe")
      let bytes = UnsafeMutableRawBufferPointer(start: memory.base, count: memory.count)
      _ = probe.faultIn(bytes)
      region = UnsafeRawBufferPointer(bytes)
      owned = memory
    }
  }

  /// Probes once.
  ///
  /// - Returns: gigabytes per second.
  @discardableResult
  package func sample() -> Double {
    let seconds = min(
      probe.read(region, prefetching: false), probe.read(region, prefetching: true))
    let rate = Double(region.count) / 1e9 / max(seconds, 1e-9)
    gigabytesPerSecond.append(rate)
    return rate
  }

  /// The median of the probes, in units of 10⁹ bytes a second.
  package var median: Double { Statistics.median(gigabytesPerSecond) }
}

/// How fast the system hands out memory that this process has not had before.
package final class FreshMemory {
  private static let sampleBytes = 256 << 20

  // Kept until the end: memory that is given back comes again at once, already in the machine's
  // hands, which on virtual machines is twenty times faster than the first time.
  private var held: [AnonymousMemory] = []

  package init() {}

  /// Gigabytes per second at which the system hands out fresh memory, touched page by page by
  /// all threads: `count` samples, each on memory of its own.
  package func faultIn(team: ThreadTeam, count: Int) throws(BackendError) -> [Double] {
    let probe = try BandwidthProbe(team: team)
    var rates: [Double] = []
    for _ in 0..<count {
      let bytes = min(Self.sampleBytes, AnonymousMemory.available / 16)
      let memory = try AnonymousMemory(count: bytes, what: "the fault-in probe")
      let seconds = probe.faultIn(
        UnsafeMutableRawBufferPointer(start: memory.base, count: memory.count))
      held.append(memory)
      rates.append(Double(bytes) / 1e9 / max(seconds, 1e-9))
    }
    return rates
  }
}
