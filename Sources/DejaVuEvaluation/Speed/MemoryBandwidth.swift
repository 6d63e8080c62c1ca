package import DejaVuCPU
package import DejaVuCore
import DejaVuFormats

/// Read bandwidth of the machine, probed between the runs that are measured against it.
///
/// A probe is the better of a plain and a prefetching read of at least 1 GiB on huge pages; the
/// figure is the median of the probes.
package final class MemoryBandwidth {
  private let probe: BandwidthProbe
  private let region: UnsafeRawBufferPointer
  private let owned: AnonymousMemory?
  /// One figure per probe, in units of 10⁹ bytes a second.
  package private(set) var gigabytesPerSecond: [Double] = []

  /// - Parameters:
  ///   - team: the threads that read, the same as those of the runs.
  ///   - weights: memory to read when it is large enough and on huge pages; else fresh memory is
  ///     taken.
  /// - Throws: ``BackendError/outOfMemory(what:bytes:)`` when there is none to take,
  ///   ``BackendError/unavailable(backend:reason:)`` without kernels for this machine.
  package init(team: ThreadTeam, weights: UnsafeRawBufferPointer?) throws(BackendError) {
    probe = try BandwidthProbe(team: team)
    if let weights, weights.count >= 1 << 30 {
      region = UnsafeRawBufferPointer(rebasing: weights[..<min(weights.count, 2 << 30)])
      owned = nil
    } else {
      let memory = try AnonymousMemory(count: 1 << 30, what: "the bandwidth probe")
      let bytes = UnsafeMutableRawBufferPointer(start: memory.base, count: memory.count)
      _ = probe.faultIn(bytes)
      region = UnsafeRawBufferPointer(bytes)
      owned = memory
    }
  }

  /// Probes once; takes as long as reading the region twice.
  package func sample() {
    let seconds = min(
      probe.read(region, prefetching: false), probe.read(region, prefetching: true))
    gigabytesPerSecond.append(Double(region.count) / 1e9 / seconds)
  }

  /// The median of the probes, in units of 10⁹ bytes a second.
  package var median: Double { Statistics.median(gigabytesPerSecond) }
}
