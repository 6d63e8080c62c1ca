import CDejaVuKernels
package import DejaVuCore

/// Measures how fast this machine reads memory with a team's threads.
package struct BandwidthProbe {
  private let team: ThreadTeam
  private let kernels: UnsafePointer<dejavu_kernels>

  package init(team: ThreadTeam) throws(BackendError) {
    guard let kernels = InstructionSet.best.table else {
      throw .unavailable(backend: "CPU", reason: "no kernels for this machine")
    }
    self.team = team
    self.kernels = kernels
  }

  /// Seconds to read `region` once, plainly or with software prefetching.
  package func read(_ region: UnsafeRawBufferPointer, prefetching: Bool) -> Double {
    guard let base = region.baseAddress else { return 0 }
    let chunks = 8 * team.count
    let size = region.count / chunks / 4096 * 4096
    let kernel = prefetching ? kernels.pointee.read_prefetching : kernels.pointee.read_plain
    nonisolated(unsafe) let (start, read) = (base, kernel)
    let clock = ContinuousClock()
    let time = clock.measure {
      team.run(chunks: chunks) { chunk in
        if read(start + chunk * size, size) == 2 { preconditionFailure("a flag is 0 or 1") }
      }
    }
    return time / .seconds(1) * Double(region.count) / Double(size * chunks)
  }

  /// Seconds to write every page of fresh memory once, by all threads.
  package func faultIn(_ region: UnsafeMutableRawBufferPointer) -> Double {
    guard let base = region.baseAddress else { return 0 }
    let piece = 2 << 20
    let chunks = (region.count + piece - 1) / piece
    nonisolated(unsafe) let start = base
    let count = region.count
    let clock = ContinuousClock()
    let time = clock.measure {
      team.run(chunks: chunks) { chunk in
        let end = min((chunk + 1) * piece, count)
        for at in stride(from: chunk * piece, to: end, by: 4096) {
          (start + at).storeBytes(of: 1, as: UInt8.self)
        }
      }
    }
    return time / .seconds(1)
  }
}
