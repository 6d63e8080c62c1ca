import CDejaVuKernels
import DejaVuCPU
import DejaVuCore
import DejaVuTestSupport
import Synchronization
import Testing

/// How often each chunk was run, and by threads that exist.
private final class Roll: Sendable {
  let threads: Int
  let strangers = Atomic<Int>(0)
  let runs: [Counter]

  final class Counter: Sendable { let value = Atomic<Int>(0) }

  init(threads: Int, chunks: Int) {
    self.threads = threads
    runs = (0..<chunks).map { _ in Counter() }
  }

  func call(_ chunk: Int, by thread: Int) {
    runs[chunk].value.add(1, ordering: .relaxed)
    if thread >= threads { strangers.add(1, ordering: .relaxed) }
  }
}

struct ThreadTeamTests {
  @Test(arguments: [1, 2, 3, 7])
  func `every chunk of a job runs exactly once`(threads: Int) throws {
    let team = try ThreadTeam(threads: threads)
    let roll = Roll(threads: threads, chunks: 64)
    var random = SeededRandom(seed: UInt64(threads))
    var expected = [Int](repeating: 0, count: 64)
    // Jobs that grow follow each other closely: a late thread must not start the next one early.
    for round in 0..<4_000 {
      let sizes = (0..<16).map { $0 == 5 ? 0 : 2 + 3 * $0 + Int(random.next() % 6) }
      for chunks in sizes {
        dejavu_team_run(
          team.handle,
          { context, chunk, thread in
            Unmanaged<Roll>.fromOpaque(context).takeUnretainedValue().call(chunk, by: thread)
          }, Unmanaged.passUnretained(roll).toOpaque(), chunks)
      }
      for chunks in sizes { for chunk in 0..<chunks { expected[chunk] += 1 } }
      let found = roll.runs.map { $0.value.load(ordering: .relaxed) }
      guard found != expected else { continue }
      Issue.record("round \(round) of \(sizes) was off by \(zip(found, expected).map { $0 - $1 })")
      return
    }
    #expect(roll.strangers.load(ordering: .relaxed) == 0)
  }

  @Test(arguments: [1, 2, 7])
  func `a closure sees every chunk`(threads: Int) throws {
    let team = try ThreadTeam(threads: threads)
    for chunks in [0, 1, 2, 33] {
      let sum = Atomic<Int>(0)
      team.run(chunks: chunks) { sum.add($0 + 1, ordering: .relaxed) }
      #expect(sum.load(ordering: .relaxed) == chunks * (chunks + 1) / 2)
    }
  }

  @Test(arguments: [0, -1, 1025])
  func `a team of no or too many threads is refused`(threads: Int) {
    #expect(throws: BackendError.self) { _ = try ThreadTeam(threads: threads) }
  }
}
