import DejaVuCUDA
import DejaVuCore
import DejaVuModels
import DejaVuTestSupport
import Testing

/// Tokens that the card chooses are those that the host would have chosen, and that the next step begins
/// before the host knows them changes nothing.
struct CUDASamplingTests {
  static let rules: [SamplingOptions] = [
    SamplingOptions(),
    SamplingOptions(temperature: 1, seed: 1),
    SamplingOptions(temperature: 0.3, seed: 2),
    SamplingOptions(temperature: 5, topK: 7, seed: 3),
    SamplingOptions(temperature: 2, topK: 1, seed: 4),
    SamplingOptions(temperature: 1.5, topP: 0.8, seed: 5),
    SamplingOptions(temperature: 1, topP: 0, seed: 6),
    SamplingOptions(temperature: 2, minP: 0.2, seed: 7),
    SamplingOptions(temperature: 3, topK: 40, topP: 0.9, minP: 0.01, seed: 8),
    SamplingOptions(temperature: 1000, topK: 100, topP: 0.5, seed: 9),
  ]

  /// What the head's rows are made to be, so that logits have what real ones seldom have.
  enum Rows: CaseIterable {
    /// As they are.
    case random
    /// Each eight times, in the order of the vocabulary and out of it.
    case repeated
    /// All the same.
    case zero
  }

  @Test(arguments: rules, Rows.allCases)
  func `the card draws the host's token`(rule: SamplingOptions, rows: Rows) throws {
    // More tokens than one block has threads, and not a multiple of anything.
    var architecture = TinyModel.opt.architecture
    architecture.vocabulary = 1999
    architecture.layers = 1
    let model = TinyModel.model(of: architecture, dtype: .float16)
    prepare(model.head, rows)
    let session = try DecoderSession(
      decoder: Decoder(backend: TestCard.backend(model)), capacity: 24, mode: .dense)
    var (host, card) = (sampler(rule, model), sampler(rule, model))
    for index in 0..<12 {
      // The same step twice: its logits, then what the card makes of them.
      let token = TokenID(index * 151 + 3)
      let expected = host.next(try session.decode(token), position: session.count)
      session.truncate(to: session.count - 1)
      #expect(try session.next(after: token, by: &card) == expected, "token \(index), \(rows)")
    }
  }

  @Test(arguments: [rules[0], rules[1], rules[8]])
  func `a text is the host's, token by token, whatever its blocks compute`(
    rule: SamplingOptions
  ) throws {
    let model = TinyModel.opt.model(dtype: .float16)
    for mode in [RunMode.dense, .exact, .sparse] {
      let host = try text(of: model, mode, 40, rule, isHost: true).tokens
      let card = try text(of: model, mode, 40, rule, isHost: false)
      #expect(card.tokens == host, "\(mode)")
      #expect(Set(host).count > 3, "a text that repeats one token shows nothing")
      // All but those that are looked at and recorded began before their token was known.
      #expect(card.backend.guesses.right > 30, "\(mode)")
      #expect(card.backend.guesses.wrong == 0, "\(mode)")
    }
  }

  @Test func `a penalty is kept by the host`() throws {
    let model = TinyModel.opt.model(dtype: .float16)
    let rule = SamplingOptions(repetitionPenalty: 1.3)
    let backend = try text(of: model, .dense, 8, rule, isHost: false).backend
    #expect(backend.chosenToken == nil && backend.logits(0).count == model.architecture.vocabulary)
  }

  /// Seeded texts that are cut back, forked, left, taken up with other tokens, prompts and rules.
  @Test(arguments: [UInt64(1), 2, 3])
  func `steps that run ahead leave nothing behind`(seed: UInt64) throws {
    let (waiting, _) = try story(seed: seed, expects: false)
    let (ahead, backend) = try story(seed: seed, expects: true)
    #expect(ahead.tokens == waiting.tokens)
    #expect(ahead.debts == waiting.debts)
    try expectSameBits(ahead.logits, waiting.logits, "seed \(seed)")
    #expect(backend.guesses.right > 10, "many steps run ahead")
    #expect(backend.surplusSteps > 5, "and some were not asked for")
    #expect(waiting.debts.contains { $0 > 0 }, "nothing was ever owed")
  }

  @Test func `what a text reads is counted as without running ahead`() throws {
    let model = TinyModel.opt.model(dtype: .float32)
    let host = try text(of: model, .sparse, 20, Self.rules[0], isHost: true).backend.tally
    let card = try text(of: model, .sparse, 20, Self.rules[0], isHost: false).backend.tally
    #expect(card == host)
  }

  @Test func `logits that are no numbers are named`() throws {
    let model = TinyModel.opt.model(dtype: .float32)
    let norm = UnsafeMutablePointer(mutating: model.finalNorm?.weight?.base)
    norm?[0] = .nan
    for rule in [Self.rules[0], Self.rules[1]] {
      var sampler = sampler(rule, model)
      let session = try DecoderSession(
        decoder: Decoder(backend: TestCard.backend(model)), capacity: 4, mode: .dense)
      #expect(throws: BackendError.nonFiniteLogits(position: 0)) {
        try session.next(after: 1, by: &sampler)
      }
    }
  }

  // Texts -------------------------------------------------------------------------------------------

  private func sampler(_ rule: SamplingOptions, _ model: PackedModel) -> Sampler {
    Sampler(options: rule, vocabulary: model.architecture.vocabulary)
  }

  private func prepare(_ head: RowMatrix, _ rows: Rows) {
    let base = UnsafeMutableRawPointer(mutating: head.base)
    for row in 0..<head.rows {
      let to = base + row * head.stride
      switch rows {
      case .random: break
      case .repeated: to.copyMemory(from: base + row % 250 * head.stride, byteCount: head.stride)
      case .zero: to.initializeMemory(as: UInt8.self, repeating: 0, count: head.stride)
      }
    }
  }

  private func session(
    of model: PackedModel, _ mode: RunMode, on backend: CUDABackend
  ) throws -> DecoderSession<CUDABackend> {
    let sparsity = CUDARidingTests.sparsity(
      of: model.architecture, heads: .layerAhead, neurons: .blockAhead, rule: .threshold(0),
      isLowRank: true)
    return try DecoderSession(
      decoder: Decoder(backend: backend), capacity: 64, mode: mode,
      sparsity: mode == .sparse ? sparsity : nil)
  }

  private func text(
    of model: PackedModel, _ mode: RunMode, _ count: Int, _ rule: SamplingOptions, isHost: Bool
  ) throws -> (tokens: [TokenID], backend: CUDABackend) {
    let backend = try TestCard.backend(model)
    let session = try session(of: model, mode, on: backend)
    var (sampler, tokens) = (sampler(rule, model), [TokenID(5)])
    for _ in 0..<count {
      let token = tokens[tokens.count - 1]
      if isHost {
        tokens.append(sampler.next(try session.decode(token), position: session.count))
      } else {
        tokens.append(try session.next(after: token, by: &sampler))
      }
    }
    return (tokens, backend)
  }

  private struct Told {
    var tokens: [TokenID] = []
    var logits: [[Float]] = []
    var debts: [Int] = []
  }

  private func story(seed: UInt64, expects: Bool) throws -> (told: Told, backend: CUDABackend) {
    let model = TinyModel.opt.model(dtype: .float16)
    let backend = try TestCard.backend(model)
    backend.expectsSteps = expects
    var sessions = [try session(of: model, .sparse, on: backend)]
    var (told, random, token) = (Told(), SeededRandom(seed: seed), TokenID(7))
    for chapter in 0..<14 {
      let which = chapter % sessions.count
      let session = sessions[which]
      if session.count > 40 { session.truncate(to: 3) }
      var sampler = sampler(Self.rules[Int(random.next() % 2)], model)
      for _ in 0..<2 + Int(random.next() % 7) {
        token = try session.next(after: token, by: &sampler)
        told.tokens.append(token)
      }
      switch random.next() % 5 {
      case 0: session.truncate(to: session.count - Int(random.next() % 3))
      case 1:
        let copy = try session.fork(capacity: 64)
        guard let fork = copy as? DecoderSession<CUDABackend> else { continue }
        if sessions.count < 3 { sessions.append(fork) } else { sessions[which] = fork }
      case 2: token = TokenID(random.next() % 319)
      case 3: try session.run([5, 6, 7], wanted: .last) { told.logits.append(Array($1)) }
      default: told.logits.append(Array(try session.decode(token)))
      }
      told.debts.append(sessions[which].cache.debt)
    }
    return (told, backend)
  }
}
