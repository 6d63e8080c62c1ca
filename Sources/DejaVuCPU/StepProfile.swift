import DejaVuCore

/// Where the time and the bytes of steps go, part by part.
///
/// A backend that has one reads the clock whenever a verb begins or ends; each moment belongs to
/// the innermost part.
package final class StepProfile {
  /// A part of a decode step.
  package enum Part: String, CaseIterable, Hashable, Sendable {
    case attention
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
  }

  private var shares: [Share]
  private var current = Part.rest
  private var instant = ContinuousClock.now
  private var bytes: Int

  /// Starts the clock; `bytes` is the backend's count so far.
  package init(bytes: Int) {
    self.bytes = bytes
    shares = Array(repeating: Share(), count: Part.allCases.count)
  }

  /// Counts up to this moment, which begins another part.
  ///
  /// - Returns: the part before it.
  @discardableResult
  package func turn(to part: Part, bytes: Int) -> Part {
    let now = ContinuousClock.now
    let before = current
    shares[Self.index(before)].seconds += (now - instant) / .seconds(1)
    shares[Self.index(before)].bytes += bytes - self.bytes
    (instant, self.bytes, current) = (now, bytes, part)
    return before
  }

  package subscript(part: Part) -> Share { shares[Self.index(part)] }

  private static func index(_ part: Part) -> Int { Part.allCases.firstIndex(of: part) ?? 0 }
}

extension CPUBackend {
  /// Does the work, as part of the profile where there is one.
  @inline(__always)
  func profiled(_ part: StepProfile.Part, _ work: () -> Void) {
    guard let profile else { return work() }
    let before = profile.turn(to: part, bytes: tally.bytes)
    work()
    profile.turn(to: before, bytes: tally.bytes)
  }
}
