import CDejaVuCUDA
import DejaVuCore

/// A step that runs on the token of the one before it, which the host has not seen yet.
struct AheadStep {
  let step: RecordedStep
  let key: StepKey
  let position: Int
}

/// Steps that choose their token: the next one starts before the host knows it.
///
/// What a step chose lies where the next one reads its input, so that a step that is expected can follow at
/// once. The host reads one token behind and says what it does with it: where it does not go on, the
/// step ahead leaves nothing behind, since the cache has not grown and its debts are put back.
extension CUDABackend {
  /// Whether the step chooses its token itself: one sequence, one token, and a rule.
  var choosesToken: Bool { isSingle && batch.wanted.count == 1 && batch.rule != nil }

  /// Where the step's first token stands.
  var firstPosition: Int { batch.slices.first?.position ?? 0 }

  /// Appends the choice to the step.
  func appendChoice() {
    guard choosesToken, let sampler, let rule = batch.rule else { return }
    let job = sampler.arguments(scratch, draws: rule.temperature > 0)
    launch(.findLikeliest, sampler.grid, job)
    if rule.temperature > 0 { launch(.weighTokens, sampler.grid, job) }
    launch(.chooseToken, Grid(1), job)
  }

  /// Brings the rule to the card, where one is followed.
  func followRule() {
    guard choosesToken, let rule = batch.rule else { return }
    if sampler == nil {
      sampler = attempt { () throws(BackendError) in
        try DeviceSampler(
          device, vocabulary: architecture.vocabulary, resultWords: scratch.resultWords)
      }
    }
    sampler?.follow(rule)
  }

  /// The step that runs ahead, if it is the one that begins; another is undone.
  func claimAhead() -> RecordedStep? {
    guard let ahead = cacheContext.ahead else { return nil }
    let isWanted =
      ahead.key == stepKey && ahead.position == firstPosition && batch.tokens[0] == chosenToken
    guard isWanted, expectsSteps else {
      cacheContext.forgetAhead()
      return nil
    }
    cacheContext.ahead = nil
    return ahead.step
  }

  /// Starts the step behind this one, on the token that this one chooses.
  func startAhead() {
    let position = firstPosition + 1
    guard choosesToken, expectsSteps, retired.isEmpty, device.failure == nil,
      let key = stepKey, let step = recorder.expected(key), let cache = single,
      position < min(cache.capacity, architecture.context),
      // Whoever counts ranked rows looks at this step's lists.
      !notes.contains(where: \.isRanked)
    else { return }
    startClock(position)
    step.replay()
    fetch(position)
    cacheContext.ahead = AheadStep(step: step, key: key, position: position)
    cacheContext.aheadCache = cache
  }
}
