import CDejaVuKernels
package import DejaVuCore

/// Where time, bytes and arithmetic of steps go, part by part.
///
/// A backend that has one reads the clock whenever a verb begins or ends; each moment belongs to
/// the innermost part. Attention over the cache runs inside the attention block, group by group: its
/// bytes and arithmetic are counted apart, and of the block's time it gets the share that the
/// threads spent on it.
package final class StepProfile {
  /// A part of a decode step.
  package enum Part: String, CaseIterable, Hashable, Sendable {
    /// Projections of the chosen heads: query, key, value and output rows.
    case attention
    /// Scores and sums over stored keys and values.
    case cache
    /// Keys and values of groups that nothing has chosen for a whole window.
    case settling
    case mlp
    case choosers
    case head
    /// Embeddings, norms and sums, and whatever happens between steps.
    case rest
  }

  /// What a part has taken so far.
  package struct Share: Hashable, Sendable {
    package var seconds = 0.0
    package var bytes = 0
    package var flops = 0
  }

  private var shares: [Part: Share] = [:]
  private var current = Part.rest
  private var instant = ContinuousClock.now
  private var tally: Tally
  private var times: UnsafeMutableBufferPointer<dejavu_attention_time>

  /// Starts the clock; `tally` is the backend's count so far.
  package init(tally: Tally) {
    self.tally = tally
    times = .init(start: nil, count: 0)
  }

  deinit { times.deallocate() }

  /// Counts up to this moment, which begins another part.
  ///
  /// - Returns: the part before it.
  @discardableResult
  package func turn(to part: Part, tally: Tally) -> Part {
    let (now, before) = (ContinuousClock.now, current)
    let cached = tally.cache - self.tally.cache
    shares[before, default: Share()].seconds += (now - instant) / .seconds(1)
    shares[before, default: Share()].bytes += tally.bytes - self.tally.bytes - cached
    shares[before, default: Share()].flops += tally.weightFlops - self.tally.weightFlops
    shares[.cache, default: Share()].bytes += cached
    shares[.cache, default: Share()].flops += tally.cacheFlops - self.tally.cacheFlops
    (instant, self.tally, current) = (now, tally, part)
    return before
  }

  package subscript(part: Part) -> Share {
    var share = shares[part] ?? Share()
    let attention = shares[.attention]?.seconds ?? 0
    switch part {
    case .attention: share.seconds -= attention * cacheShare
    case .cache: share.seconds += attention * cacheShare
    default: break
    }
    return share
  }

  /// Share of the attention blocks' time that threads spent over the cache.
  private var cacheShare: Double {
    let all = times.reduce(0) { $0 + $1.all }
    return all > 0 ? Double(times.reduce(0) { $0 + $1.cache }) / Double(all) : 0
  }

  /// Where attention blocks note their time, one entry per thread.
  func attentionTimes(threads: Int) -> UnsafeMutablePointer<dejavu_attention_time>? {
    if times.isEmpty {
      times = .allocate(capacity: threads)
      times.initialize(repeating: dejavu_attention_time())
    }
    return times.baseAddress
  }
}

extension CPUBackend {
  /// Does the work, as part of the profile where there is one.
  @inline(__always)
  func profiled(_ part: StepProfile.Part, _ work: () -> Void) {
    guard let profile else { return work() }
    let before = profile.turn(to: part, tally: tally)
    work()
    profile.turn(to: before, tally: tally)
  }
}
