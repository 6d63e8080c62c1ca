import DejaVuFormats
import DejaVuTestSupport
import DejaVuTraining
import Testing

/// Groups on a made-up clock: nothing here takes time.
private struct MadeUpGroup {
  let round: Double
  let scoring: Double
  var held = 0.0
  var beside = 0.0
  /// Rounds are up to so much longer, at random.
  var noise = 0.0
  /// Whether rounds take twice as long in the second half.
  var slowsDown = false

  /// What happened, in seconds.
  struct Outcome {
    var end = 0.0
    var rounds = 0
    var scorings = 0.0
    var savings = 0.0
    var isCutShort = false
    /// Most that a kill could have lost.
    var lost = 0.0
  }

  func run(budget: Double) -> Outcome {
    var random = SeededRandom(seed: 11)
    var schedule = TrainingSchedule(tokens: nil, roundTokens: 1024, start: 0, end: budget)
    var (outcome, planned, clock): (Outcome, Int?, Double) = (Outcome(), nil, 0)
    // The last state that is on the disk, the one that is being written, and when that began.
    var (stored, snapshot, lastSave) = (0.0, 0.0, 0.0)
    repeat {
      let factor: Double = slowsDown && clock > budget / 2 ? 2 : 1
      let seconds = factor * round * (1 + noise * Double(abs(random.unit())))
      clock += outcome.rounds == 0 ? 3 * seconds : seconds
      schedule.add(round: outcome.rounds == 0 ? 3 * seconds : seconds)
      outcome.rounds += 1
      if schedule.needsScoringCost, outcome.rounds >= 2 {
        schedule.add(scoring: scoring / 32, share: 1 / 32)
        clock += scoring / 32
        outcome.scorings += scoring / 32
      }
      let plan = schedule.plan(planned, after: outcome.rounds, at: clock)
      planned = plan.tokens
      outcome.isCutShort = plan.isCutShort
      let isDone = planned.map { outcome.rounds * 1024 >= $0 } ?? false
      if isDone || schedule.isScoringDue(after: outcome.rounds, of: planned, at: clock) {
        clock += scoring
        outcome.scorings += scoring
        schedule.add(scoring: scoring)
      }
      if !isDone, schedule.isSavingDue(after: outcome.rounds, of: planned, since: clock - lastSave)
      {
        stored = snapshot
        snapshot = clock
        clock += held
        outcome.lost = max(outcome.lost, clock + beside - stored)
        outcome.savings += held
        schedule.add(saving: held, beside: beside)
        lastSave = clock
      }
      if isDone { break }
    } while clock < 4 * budget
    outcome.end = clock
    outcome.lost = max(outcome.lost, clock - snapshot)
    return outcome
  }
}

struct ScheduleTests {
  @Test func `with the tokens given only rounds decide when predictors are scored`() {
    var schedule = TrainingSchedule(tokens: 65536, roundTokens: 1024, start: 5, end: 10)
    schedule.add(round: 1)
    schedule.add(scoring: 1000)
    #expect(!schedule.needsScoringCost)
    for elapsed in [0.0, 6, 1e6] {
      let due = (1...64).filter { schedule.isScoringDue(after: $0, of: 65536, at: elapsed) }
      #expect(due == [12, 24, 36, 48, 60])
      #expect(schedule.plan(nil, after: 8, at: elapsed).tokens == nil)
    }
  }

  @Test(arguments: [0.05, 1, 2, 6], [0.1, 1, 4, 10])
  func `a budget holds the last scoring, and scorings are a fifth of it`(
    round: Double, scoring: Double
  ) {
    for budget in [60.0, 120, 1800] {
      let outcome = MadeUpGroup(round: round, scoring: scoring, noise: 0.2).run(budget: budget)
      // The last round may begin just before the time is up.
      #expect(outcome.end <= budget + 1.2 * round, "\(outcome) in \(budget)")
      #expect(outcome.end >= 0.8 * budget - 1.2 * round - scoring, "\(outcome) in \(budget)")
      // The last one comes whatever it takes.
      #expect(outcome.scorings - scoring <= 0.2 * outcome.end, "\(outcome) in \(budget)")
    }
  }

  @Test(arguments: [0.5, 2, 4])
  func `even rounds are planned right: nothing is cut short`(scoring: Double) {
    let outcome = MadeUpGroup(round: 1, scoring: scoring).run(budget: 300)
    #expect(!outcome.isCutShort && outcome.end > 0.93 * 300 && outcome.rounds > 200, "\(outcome)")
  }

  @Test func `a machine that becomes slower cuts a plan short, and the time is kept`() {
    let outcome = MadeUpGroup(round: 1, scoring: 2, slowsDown: true).run(budget: 300)
    #expect(outcome.isCutShort && outcome.end <= 303, "\(outcome)")
  }

  @Test func `short savings come every half minute, long ones less often but within the minute`() {
    let short = MadeUpGroup(round: 1, scoring: 1, held: 1).run(budget: 1800)
    #expect(short.savings >= 50 && short.lost <= 60)
    let long = MadeUpGroup(round: 1, scoring: 2, held: 4, beside: 8).run(budget: 1800)
    #expect(long.lost <= 60 && long.savings <= 0.11 * long.end, "\(long)")
    let longest = MadeUpGroup(round: 1, scoring: 2, held: 8).run(budget: 1800)
    #expect(longest.lost <= 60 && longest.savings <= 0.2 * longest.end, "\(longest)")
  }

  @Test func `a group that ends within the minute is not stored before`() {
    var schedule = TrainingSchedule(tokens: 40 * 1024, roundTokens: 1024, start: 0, end: nil)
    schedule.add(round: 1)
    #expect(schedule.isSavingDue(after: 1, of: 40 * 1024, since: 31))
    #expect(!schedule.isSavingDue(after: 20, of: 40 * 1024, since: 31))
    #expect(schedule.isSavingDue(after: 20, of: 40 * 1024, since: 36))
    #expect(schedule.isSavingDue(after: 20, of: nil, since: 31))
  }

  @Test func `what ends a writing is thrown once, by whoever waits`() throws {
    let writer = StateWriter()
    let failure = CheckpointError.unwritable(path: "state", reason: "the disk is full")
    writer.begin { () throws(CheckpointError) in throw failure }
    #expect(throws: failure) { try writer.finish() }
    try writer.finish()
  }
}
