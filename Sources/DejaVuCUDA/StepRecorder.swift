import DejaVuCore

/// What a step is known by before its launches are.
struct StepKey: Equatable {
  let cache: ObjectIdentifier
  let wanted: Int
  /// By which the step chooses its token; nil where it does not.
  let rule: TokenRule?
  /// Of the device: equal counts mean that what earlier launches point to is still there.
  let releases: Int
}

/// The steps seen last: one that comes again is recorded, and replayed from then on.
///
/// One that came twice in a row is expected to come a third time: it can be replayed while the host
/// still finds out what the launches are.
struct StepRecorder {
  private var candidates: [LaunchList] = []
  private var recorded: [RecordedStep] = []
  private static let most = 6
  /// The step that came last, if it was replayed and nothing in it was read from the host.
  private var last: (step: RecordedStep, key: StepKey, isRepeated: Bool)?
  /// Steps that were replayed, for tests and reports.
  private(set) var replays = 0
  /// Of them those that ran before their launches were known; and steps that ran and should not have.
  private(set) var guesses = 0
  private(set) var mistakes = 0
  private(set) var nodes = 0

  /// The step to replay before its launches are known; nil where nothing is expected.
  func expected(_ key: StepKey) -> RecordedStep? {
    guard let last, last.isRepeated, last.key == key else { return nil }
    return last.step
  }

  /// Looks whether a step that was expected and replayed is the one that came.
  ///
  /// - Returns: false where it should not have run.
  mutating func confirm(_ step: RecordedStep, is launches: LaunchList?) -> Bool {
    guard let launches, step.launches.isEqual(to: launches) else {
      mistakes += 1
      last = nil
      return false
    }
    (guesses, replays, nodes) = (guesses + 1, replays + 1, step.nodes)
    return true
  }

  /// Runs a step that is expected by `key` next time; nil if the host changes what it reads.
  mutating func run(_ launches: LaunchList, key: StepKey?, on device: CUDADevice) {
    guard let step = step(for: launches, on: device) else {
      last = nil
      return launches.run(on: device)
    }
    step.replay()
    (replays, nodes) = (replays + 1, step.nodes)
    last = key.map { (step, $0, last?.step === step && last?.key == $0) }
  }

  /// The step as it was recorded, now or earlier; nil when it comes for the first time.
  private mutating func step(for launches: LaunchList, on device: CUDADevice) -> RecordedStep? {
    if let known = recorded.first(where: { $0.launches.isEqual(to: launches) }) { return known }
    guard let at = candidates.firstIndex(where: { $0.isEqual(to: launches) }) else {
      candidates.insert(launches.copy(), at: 0)
      if candidates.count > Self.most { candidates.removeLast() }
      return nil
    }
    guard let step = RecordedStep(candidates.remove(at: at), on: device) else { return nil }
    recorded.insert(step, at: 0)
    if recorded.count > Self.most { recorded.removeLast() }
    return step
  }
}
