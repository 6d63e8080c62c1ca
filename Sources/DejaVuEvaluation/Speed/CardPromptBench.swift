package import DejaVuCUDA
import DejaVuCore
import DejaVuModels

/// Measures dense prompts of synthetic weights on a card: how long the first token takes.
///
/// Rounds take all prompts in turn, beside a large product by the same library: what the card's tensor
/// cores give. Sparse prompts are never measured: their work is the dense one.
package struct CardPromptBench {
  /// Prompts of each length that come before the clock is read: the library loads its kernels then.
  private static let settling = 2

  private let backend: CUDABackend
  private let prompts: [Int]
  private let rounds: Int
  private let seed: UInt64

  package init(_ backend: CUDABackend, prompts: [Int], rounds: Int, seed: UInt64) {
    (self.backend, self.prompts, self.rounds, self.seed) = (backend, prompts, rounds, seed)
  }

  /// Measures every length.
  ///
  /// - Parameter step: called before each prompt; it may throw to give up.
  /// - Returns: a row for each length.
  /// - Throws: ``BackendError``, or what `step` throws.
  package func run(step: () throws -> Void) throws -> [CardPromptRow] {
    let session = try DecoderSession(
      decoder: Decoder(backend: backend), capacity: (prompts.max() ?? 0) + 1, mode: .dense,
      sparsity: nil, defersKeys: false)
    let probe = try DeviceProducts(backend)
    var rows = prompts.map {
      CardPromptRow(tokens: $0, flops: PromptWork.flops(backend.architecture, tokens: $0))
    }
    for round in -Self.settling..<rounds {
      let ceiling = try probe?.sample()
      for index in rows.indices {
        try step()
        let tokens = draw(rows[index].tokens, stream: round)
        session.truncate(to: 0)
        let clock = ContinuousClock()
        let start = clock.now
        try session.run(tokens[...], wanted: .last) { _, _ in }
        guard round >= 0 else { continue }
        rows[index].milliseconds.append((clock.now - start) / .milliseconds(1))
        if let ceiling { rows[index].ceiling.append(ceiling) }
      }
    }
    return rows
  }

  private func draw(_ count: Int, stream: Int) -> [TokenID] {
    (0..<count).map { index in
      let draw = Sampler.uniform(
        seed: seed &+ UInt64(stream + Self.settling) &* 104_729, counter: UInt64(index))
      return TokenID(draw * Double(backend.architecture.vocabulary))
    }
  }
}

/// One length of prompt on a card.
package struct CardPromptRow {
  package let tokens: Int
  /// Multiplications and additions.
  package let flops: Double
  /// By the host's clock, from tokens to the last one's logits.
  package internal(set) var milliseconds: [Double] = []
  /// TFLOP/s of a large product, one for each round; empty where no library multiplies.
  package internal(set) var ceiling: [Double] = []

  package var median: Double { CardRow.median(milliseconds) }
  package var rate: Double { flops / median / 1e9 }
  /// Share of what the card's tensor cores gave in the same rounds.
  package var share: Double? { ceiling.isEmpty ? nil : rate / CardRow.median(ceiling) }
}
