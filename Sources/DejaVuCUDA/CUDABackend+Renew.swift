import CDejaVuCUDA
import DejaVuCore

/// x += Σ parts, with the lists that are made beside it.
struct PendingSum {
  let arguments: dv_add_arguments
  let lists: Int
}

/// A token's stream behind a block, and what the next block reads of it.
///
/// One launch does both where the card holds all its blocks at once: they tell each other what they know of their
/// columns, where a launch of its own would read it back.
extension CUDABackend {
  /// Launches what waits for company, choices' vectors first: they may take the sum along.
  func launchWaiting() {
    roundChoices()
    addNow()
  }

  /// Launches a sum that nothing has taken along.
  private func addNow() {
    guard let sum = pendingSum else { return }
    pendingSum = nil
    launch(.addParts, Grid(scratch.tiles + sum.lists), sum.arguments)
  }

  /// Adds up and prepares in one launch, if a sum waits and `jobs` read nothing but its stream.
  ///
  /// - Returns: whether it was launched.
  func renew(preparing jobs: [dv_prepare_job]) -> Bool {
    guard let sum = pendingSum, renewedColumns > 0, jobs.count <= Int(dv_prepare_jobs),
      jobs.allSatisfy({ $0.x == sum.arguments.x && $0.isFollowing })
    else { return false }
    pendingSum = nil
    var arguments = dv_renew_arguments()
    arguments.sum = sum.arguments
    withUnsafeMutableBytes(of: &arguments.jobs) { bytes in
      jobs.withUnsafeBytes { bytes.copyMemory(from: $0) }
    }
    let wide = LaunchGeometry.arranged(architecture.hidden)
    let columns = min(renewedColumns, wide)
    arguments.marks = scratch.marks(renewals)
    arguments.next_marks = scratch.marks(renewals + 1)
    arguments.job_count = Int32(jobs.count)
    arguments.blocks = Int32((wide + columns - 1) / columns)
    arguments.columns = Int32(columns)
    renewals += 1
    let vectors = jobs.reduce(0) {
      $0 + ($1.norm.weight == 0 ? 0 : 1) + ($1.norm.bias == 0 ? 0 : 1)
    }
    launch(
      .renewStream, Grid(Int(arguments.blocks) + sum.lists),
      sharedBytes: 4 * columns * (17 + vectors),
      arguments)
    return true
  }
}

extension dv_prepare_job {
  /// Whether what it needs of the whole vector is known from sums of its tiles: a norm's moments.
  fileprivate var isFollowing: Bool { norm.kind == 0 || norm.tiles != 0 }
}
