package import DejaVuCore
import DejaVuReference

/// What the reference backend says about three sequences of one model, computed when asked for.
package final class ReferenceAnswers {
  package let model: PackedModel
  package let sequences: [[TokenID]]
  private let trial: Trial<ReferenceBackend>
  private var known: [Question: [[Float]]] = [:]

  private struct Question: Hashable {
    let sequence: Int
    let plan: RowPlan
  }

  /// - Parameters:
  ///   - model: what both backends run.
  ///   - cacheType: what the backend on trial stores keys and values in.
  ///   - seed: of the sequences' random tokens.
  package init(model: PackedModel, cacheType: DType, seed: UInt64 = 1) {
    self.model = model
    trial = Trial(Candidate(ReferenceBackend(model: model, cacheType: cacheType)))
    var random = SeededRandom(seed: seed)
    // The first is longer than any block of queries, the second than any tile of tokens.
    sequences = [53, 14, 5].map { length in
      (0..<length).map { _ in
        TokenID(random.next() % UInt64(model.architecture.vocabulary))
      }
    }
  }

  /// Logits at every position of a sequence.
  package func logits(sequence: Int, plan: RowPlan) throws -> [[Float]] {
    let question = Question(sequence: sequence, plan: plan)
    if let answer = known[question] { return answer }
    let tokens = sequences[sequence]
    let cache = try trial.makeCache()
    let answer = try trial.run(tokens, steps: [tokens.count], cache: cache, plan: plan)
    known[question] = answer
    return answer
  }
}
