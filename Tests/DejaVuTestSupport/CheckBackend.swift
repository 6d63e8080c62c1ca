package import DejaVuCore

/// What a new backend must pass: it does what the reference says, however its work is cut up.
///
/// - Parameters:
///   - candidate: a backend for the model of `answers`.
///   - answers: the reference over the same model, with the same type of cache.
///   - tolerance: how far logits may lie from the reference's.
/// - Throws: ``Disagreement`` naming the law that does not hold.
package func checkBackend<B: Backend>(
  _ candidate: Candidate<B>, against answers: ReferenceAnswers, within tolerance: Tolerance
) throws {
  let check = BackendCheck(trial: Trial(candidate), answers: answers, tolerance: tolerance)
  try check.everyCutOfASequenceGivesTheReferencesLogits()
  try check.fullAndNonzeroSetsAreTheDenseModel()
  try check.sequencesInOneBatchDoNotDisturbEachOther()
  try check.truncationForgets()
  try check.forksAreIndependent()
}

private struct BackendCheck<B: Backend> {
  let trial: Trial<B>
  let answers: ReferenceAnswers
  let tolerance: Tolerance
  let sparse = RowPlan.random(density: 0.5, seed: 7)

  /// prefill(a + b) = prefill(a), decode(b), for every choice of rows.
  func everyCutOfASequenceGivesTheReferencesLogits() throws {
    let tokens = answers.sequences[0]
    for plan in [RowPlan.all, .nonzero, sparse] {
      let expected = try answers.logits(sequence: 0, plan: plan)
      for steps in [[tokens.count], [1], [tokens.count - 4, 1], [2, 1, 1, 5, 1, 13]] {
        let cache = try trial.makeCache()
        let found = try trial.run(tokens, steps: steps, cache: cache, plan: plan)
        try expectClose(found, expected, within: tolerance, "\(plan) in steps of \(steps)")
        guard cache.count == tokens.count else {
          throw Disagreement(description: "a cache of \(tokens.count) tokens holds \(cache.count)")
        }
      }
    }
  }

  func fullAndNonzeroSetsAreTheDenseModel() throws {
    let tokens = answers.sequences[1]
    let logits = try [RowPlan.all, .full, .nonzero].map { plan in
      try trial.run(tokens, steps: [9, 1], cache: trial.makeCache(), plan: plan)
    }
    try expectSameBits(logits[1], logits[0], "full sets against all rows")
    try expectSameBits(logits[2], logits[0], "nonzero rows against all rows")
  }

  func sequencesInOneBatchDoNotDisturbEachOther() throws {
    for plan in [RowPlan.all, sparse] {
      let caches = try answers.sequences.map { _ in try trial.makeCache() }
      // Prompts of different lengths together, then three tokens of each, one by one.
      var found = [[[Float]]](repeating: [], count: caches.count)
      for step in 0...3 {
        let parts = zip(answers.sequences, caches).map { tokens, cache in
          let prompt = tokens.count - 3
          let tokens = step == 0 ? tokens[..<prompt] : tokens[prompt + step - 1..<prompt + step]
          return Continuation(tokens, cache: cache, plan: plan)
        }
        var logits = try trial.step(parts)[...]
        for (index, part) in parts.enumerated() {
          found[index] += logits.prefix(part.tokens.count)
          logits = logits.dropFirst(part.tokens.count)
        }
      }
      for (index, logits) in found.enumerated() {
        try expectClose(
          logits, answers.logits(sequence: index, plan: plan), within: tolerance,
          "\(plan), sequence \(index) of a batch")
      }
    }
  }

  /// Truncating and going on equals never having gone the other way.
  func truncationForgets() throws {
    let (tokens, other) = (answers.sequences[1], answers.sequences[2])
    for plan in [RowPlan.all, sparse] {
      for kept in [0, 3, 8, 10] {
        let (cut, fresh) = (try trial.makeCache(), try trial.makeCache())
        _ = try trial.run(tokens, steps: [8, 1], cache: cut, plan: plan)
        cut.truncate(to: kept)
        _ = try trial.run(Array(tokens[..<kept]), steps: [8, 1], cache: fresh, plan: plan)
        let steps = [3, 1]
        let found = try trial.run(other, steps: steps, cache: cut, plan: plan)
        let expected = try trial.run(other, steps: steps, cache: fresh, plan: plan)
        let claim = "\(plan), cut back to \(kept) positions"
        if kept == 3 {
          // Inside the prompt: its keys come from a product of 8 tokens here and of 3 there.
          try expectClose(found, expected, within: tolerance, claim)
        } else {
          try expectSameBits(found, expected, claim)
        }
      }
    }
  }

  /// A fork goes on from the same positions, may be longer, and neither hears of the other.
  func forksAreIndependent() throws {
    let (tokens, other) = (answers.sequences[1], answers.sequences[2])
    for plan in [RowPlan.all, sparse] {
      let trunk = try trial.makeCache(capacity: tokens.count + other.count)
      _ = try trial.run(tokens, steps: [8, 1], cache: trunk, plan: plan)
      let branch = try trunk.fork(capacity: 4 * trunk.capacity)
      let alone = try trial.makeCache()
      _ = try trial.run(tokens, steps: [8, 1], cache: alone, plan: plan)
      let expected = try [other, Array(other.reversed())].map { tokens in
        let logits = try trial.run(tokens, steps: [1], cache: alone, plan: plan)
        alone.truncate(to: trunk.count)
        return logits
      }
      var found: [[[Float]]] = [[], []]
      for (left, right) in zip(other, other.reversed()) {
        found[0] += try trial.step([left], cache: trunk, plan: plan)
        found[1] += try trial.step([right], cache: branch, plan: plan)
      }
      try expectSameBits(found[0], expected[0], "\(plan), a trunk beside its fork")
      try expectSameBits(found[1], expected[1], "\(plan), a fork beside its trunk")
    }
  }
}
