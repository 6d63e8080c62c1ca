/// How many rounds a group's time allows, and when its predictors are scored and its state is saved.
///
/// Where the tokens are given, or no time is, nothing but saving looks at the clock: the seed decides the
/// result. Times are in seconds, all of them told by the caller.
package struct TrainingSchedule {
  private let tokens: Int?
  private let roundTokens: Int
  private let start: Double
  private let end: Double?
  private var firstRound: Double?
  private var laterRounds = 0.0
  private var laterCount = 0
  private var scorings = 0.0
  /// What one scoring of all predictors takes; nil until that is known.
  private var scoring: Double?
  private var savings = 0.0
  /// The plan at half the way.
  private var promised: Int?
  /// How long the last saving held training up, and how long the disk wrote beside it.
  private var saving = (held: 0.0, beside: 0.0)

  /// Of what a group takes, and what training may wait for its state to be stored.
  private static let scoringShare = 0.2
  private static let savingShare = 0.1
  /// Seconds between two savings at least, and what a kill may lose where saving allows it.
  private static let shortestPause = 30.0
  private static let mostLost = 60.0
  /// What a plan leaves for a machine that becomes slower.
  private static let slack = 0.94

  /// - Parameters:
  ///   - tokens: how many a group reads; nil leaves that to the clock.
  ///   - roundTokens: those of a round.
  ///   - start: when the group begins.
  ///   - end: when it must be over, its last scoring included; nil sets no limit.
  package init(tokens: Int?, roundTokens: Int, start: Double, end: Double?) {
    (self.tokens, self.roundTokens, self.start, self.end) = (tokens, roundTokens, start, end)
  }

  // What things take ------------------------------------------------------------------------------

  /// Tells what a round took.
  package mutating func add(round seconds: Double) {
    if firstRound == nil {
      firstRound = seconds
    } else {
      laterRounds += seconds
      laterCount += 1
    }
  }

  /// Tells what it took to score predictors that make up `share` of all.
  package mutating func add(scoring seconds: Double, share: Double = 1) {
    scorings += seconds
    scoring = seconds / max(share, 1e-9)
  }

  /// Tells how long a saving held training up, and how long the disk writes beside training.
  package mutating func add(saving held: Double, beside: Double) {
    savings += held
    saving = (held, beside)
  }

  /// Of a round, scoring and saving apart; the first one brings memory and kernels into being, and does
  /// not count where there are others.
  package var secondsPerRound: Double? {
    laterCount > 0 ? laterRounds / Double(laterCount) : firstRound
  }

  /// Whether the plan hangs on what a scoring takes and nobody knows.
  package var needsScoringCost: Bool { tokens == nil && end != nil && scoring == nil }

  // Decisions -------------------------------------------------------------------------------------

  /// How many tokens the group is to read.
  ///
  /// The clock moves it either way, for good: a plan leaves a little, and takes that back only where the
  /// machine has become slower.
  ///
  /// - Parameters:
  ///   - planned: what was decided before.
  ///   - round: how many rounds have ended.
  ///   - elapsed: the time.
  /// - Returns: nil while nobody knows; and whether it is clearly less than it was at half the way.
  package mutating func plan(
    _ planned: Int?, after round: Int, at elapsed: Double
  ) -> (tokens: Int?, isCutShort: Bool) {
    guard tokens == nil, let end, let seconds = secondsPerRound else { return (planned, false) }
    let cost = scoring ?? 0
    let work = seconds + waiting
    let scored = min(
      cost / Double(TrainingShape.scoringRounds),
      work * Self.scoringShare / (1 - Self.scoringShare))
    let left = max(0, Int((end - elapsed - cost) / (work + scored)))
    guard round >= TrainingShape.timedRounds || left == 0 else { return (planned, false) }
    let done = round * roundTokens
    let possible = done + left * roundTokens
    let cautious = done + Int(Double(left) * Self.slack) * roundTokens
    guard let planned, 2 * done >= planned else { return (cautious, false) }
    let promised = promised ?? planned
    self.promised = promised
    let decided = min(max(planned, cautious), possible)
    return (decided, Double(decided) < Self.slack * Double(promised))
  }

  /// What savings add to a round.
  private var waiting: Double {
    (secondsPerRound ?? 0) * savings / max((firstRound ?? 0) + laterRounds, 1e-9)
  }

  /// Whether predictors are scored after this round, which is not the last one.
  ///
  /// Every so many rounds; under a budget of time less often where all scorings would take more than
  /// their share, and not where the plan and the last scoring would not fit behind it.
  ///
  /// - Parameters:
  ///   - round: how many have ended.
  ///   - planned: the group's tokens, where they are known.
  ///   - elapsed: the time.
  /// - Returns: whether to score them now.
  package func isScoringDue(after round: Int, of planned: Int?, at elapsed: Double) -> Bool {
    guard round % TrainingShape.scoringRounds == 0 else { return false }
    guard tokens == nil, let end else { return true }
    let cost = scoring ?? 0
    let rest = Double((planned ?? 0) / roundTokens - round) * ((secondsPerRound ?? 0) + waiting)
    return elapsed + max(rest, 0) + 2 * cost <= end
      && scorings + cost <= Self.scoringShare * (elapsed - start + cost)
  }

  /// Whether the state is stored after this round, which is not the last one.
  ///
  /// Waiting for it is to be a tenth of the time, and a kill just before the next file is there to lose a
  /// minute at most: where both cannot be had, the minute counts, down to the shortest pause. An end that
  /// comes within the minute needs no state.
  ///
  /// - Parameters:
  ///   - round: how many have ended.
  ///   - planned: the group's tokens, where they are known.
  ///   - seconds: those since the last saving.
  /// - Returns: whether to store it now.
  package func isSavingDue(after round: Int, of planned: Int?, since seconds: Double) -> Bool {
    guard seconds >= pause else { return false }
    guard let planned else { return true }
    let rounds = Double(planned / roundTokens - round) * (secondsPerRound ?? 0)
    let rest = rounds / (1 - Self.scoringShare) + (scoring ?? 0)
    return 2 * saving.held + seconds + rest > Self.mostLost
  }

  /// Seconds from the end of one saving to the beginning of the next.
  package var pause: Double {
    let work = (secondsPerRound ?? 0) + (scoring ?? 0)
    let affordable = saving.held * (1 - Self.savingShare) / Self.savingShare
    let lost = 2 * saving.held + saving.beside + work
    return max(Self.shortestPause, min(affordable, Self.mostLost - lost))
  }
}
