import CDejaVuKernels
import DejaVuCore

/// Where the blocks of a decode step begin to read: steps are alike, so that threads which have
/// nothing to do at a block's end can ask memory for what the last step read next.
///
/// Sets of rows change from token to token, choosers and full matrices do not; only these are noted.
struct ReadAhead {
  /// About half of a core's second-level cache.
  private static let most = 384 << 10

  private var regions: [(base: UnsafeRawPointer?, bytes: Int)] = []
  private var next = 0

  /// Starts a step.
  mutating func begin() { next = 0 }

  /// Notes what a block reads first, and tells the team what the block behind it will.
  mutating func note(_ base: UnsafeRawPointer?, bytes: Int, for team: OpaquePointer) {
    let region = (base, min(bytes, Self.most))
    if next < regions.count { regions[next] = region } else { regions.append(region) }
    next += 1
    if next < regions.count {
      dejavu_team_expect(team, regions[next].base, regions[next].bytes)
    } else {
      dejavu_team_expect(team, nil, 0)
    }
  }
}

extension CPUBackend {
  /// Notes that a block of a decode step begins by reading `bytes` from `base` on, or more than
  /// are worth asking for.
  func noteReading(_ base: UnsafeRawPointer?, bytes: Int) {
    guard batch.tokens.count == 1 else { return }
    readAhead.note(base, bytes: bytes, for: team.handle)
  }
}
