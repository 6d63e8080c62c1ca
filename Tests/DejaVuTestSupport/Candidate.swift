package import DejaVuCPU
package import DejaVuCore
import DejaVuModels
package import DejaVuReference

/// A backend on trial, with what the trial must know beyond the protocol.
package struct Candidate<B: Backend> {
  package let backend: B
  /// One ascending list of rows per token, as the backend wants it.
  package let makeRows: (_ universe: Int, _ lists: [[Int32]]) -> B.Rows

  package init(_ backend: B, makeRows: @escaping (_ universe: Int, _ lists: [[Int32]]) -> B.Rows) {
    self.backend = backend
    self.makeRows = makeRows
  }
}

extension Candidate<ReferenceBackend> {
  package init(_ backend: ReferenceBackend) {
    self.init(backend) { universe, lists in
      let rows = ReferenceRows(universe: universe, tokens: lists.count)
      for (token, list) in lists.enumerated() {
        rows.assign(ActiveSet<Neurons>(list, of: universe), to: token)
      }
      return rows
    }
  }
}

extension Candidate<CPUBackend> {
  package init(_ backend: CPUBackend) {
    self.init(backend) { universe, lists in
      let rows = CPURows(universe: universe, tokens: lists.count)
      for (token, list) in lists.enumerated() {
        rows.assign(ActiveSet<Neurons>(list, of: universe), to: token)
      }
      return rows
    }
  }
}

/// Tokens that one sequence adds in a step.
package struct Continuation<Cache> {
  let tokens: ArraySlice<TokenID>
  let cache: Cache
  let plan: RowPlan

  package init(_ tokens: some Sequence<TokenID>, cache: Cache, plan: RowPlan) {
    self.tokens = ArraySlice(tokens)
    self.cache = cache
    self.plan = plan
  }
}

/// Drives a candidate through the one decoder and keeps every logit.
package final class Trial<B: Backend> {
  package let candidate: Candidate<B>
  private let decoder: Decoder<B>
  private let batch = StepBatch<B.Cache>()

  package init(_ candidate: Candidate<B>) {
    self.candidate = candidate
    decoder = Decoder(backend: candidate.backend)
  }

  package func makeCache(capacity: Int = 96, window: Int = 0) throws(BackendError) -> B.Cache {
    try candidate.backend.makeCache(capacity: capacity, window: window)
  }

  /// One step; logits of all its tokens, `[T][V]`.
  package func step(_ continuations: [Continuation<B.Cache>]) throws(BackendError) -> [[Float]] {
    batch.removeAll()
    var tokens: [(plan: RowPlan, position: Int)] = []
    for part in continuations {
      let position = part.cache.count
      batch.append(part.tokens, cache: part.cache, wanted: .all)
      tokens += part.tokens.indices.map { (part.plan, position + $0 - part.tokens.startIndex) }
    }
    try decoder.step(batch, selector: PlannedRows(candidate: candidate, tokens: tokens))
    return tokens.indices.map { Array(candidate.backend.logits($0)) }
  }

  package func step(
    _ tokens: some Sequence<TokenID>, cache: B.Cache, plan: RowPlan
  ) throws(BackendError) -> [[Float]] {
    try step([Continuation(tokens, cache: cache, plan: plan)])
  }

  /// A whole sequence in steps of these lengths, the last of them repeated as long as needed.
  package func run(
    _ tokens: [TokenID], steps: [Int], cache: B.Cache, plan: RowPlan
  ) throws(BackendError) -> [[Float]] {
    var (logits, done, index) = ([[Float]](), 0, 0)
    while done < tokens.count {
      let count = min(steps[min(index, steps.count - 1)], tokens.count - done)
      logits += try step(tokens[done..<done + count], cache: cache, plan: plan)
      done += count
      index += 1
    }
    return logits
  }
}
