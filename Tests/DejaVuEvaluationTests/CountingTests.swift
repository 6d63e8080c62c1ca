import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuEvaluation
import DejaVuModels
import Testing

/// Flops and bytes of a shape that can be counted by hand: one layer, D = 64, two heads of 32,
/// F = 256, V = 96.
struct CountingTests {
  private let shape = ModelShape(
    name: "countable", layers: 1, hidden: 64, heads: 2, vocabulary: 96, context: 32)

  @Test func `the flops of a prompt are those counted by hand`() {
    // Query, key, value, output: 4 · 64 · 64. Up and down: 2 · 256 · 64.
    let weights = 4 * 64 * 64 + 2 * 256 * 64
    // Of 3 tokens: 1 + 2 + 3 pairs, for scores and for values, 64 lanes, twice.
    let pairs = 2 * 2 * 6 * 64
    let head = 2 * 96 * 64
    #expect(
      PromptWork.flops(shape.architecture, tokens: 3) == Double(2 * 3 * weights + pairs + head))
  }

  @Test func `a narrow embedding is projected in for every token and out for one`() {
    let narrow = ModelShape(
      name: "narrow", layers: 1, hidden: 64, heads: 2, embedding: 32, vocabulary: 96, context: 32)
    let difference =
      PromptWork.flops(narrow.architecture, tokens: 3)
      - PromptWork.flops(shape.architecture, tokens: 3)
    #expect(difference == Double(2 * 64 * 32 * 4 - 2 * 96 * 32))
  }

  @Test func `the bytes of a token are those counted by hand`() throws {
    let team = try ThreadTeam(threads: 1)
    let made = try SyntheticModel(shape: shape, options: .init(), team: team)
    let engine = try Engine(model: made.model, backend: .cpu(CPUOptions(threads: 1)))
    let session = try engine.makeSession(capacity: 6)
    try session.run([1, 2, 3, 4, 5], wanted: .none) { _, _ in }
    session.tally = Tally()
    _ = try session.decode(6)
    let tally = session.tally
    #expect(tally.attentionWeights == 4 * 64 * 64 * 2)
    #expect(tally.mlpWeights == 2 * 256 * 64 * 2)
    #expect(tally.headWeights == 96 * 64 * 2)
    // One row of the token table, one of the position table.
    #expect(tally.embedding == 2 * 64 * 2)
    // Keys and values of six positions, two heads of 32, in float16.
    #expect(tally.cache == 2 * 6 * 2 * 32 * 2)
    #expect(
      tally.bytes
        == tally.attentionWeights + tally.mlpWeights + tally.headWeights + tally.embedding
        + tally.cache)
  }

  @Test func `the bytes of a token over groupwise rows are those counted by hand`() throws {
    let team = try ThreadTeam(threads: 2)
    var options = SyntheticModel.Options()
    options.groupwise = GroupwiseFormat(bits: 4, group: 32)
    let made = try SyntheticModel(shape: shape, options: options, team: team)
    let engine = try Engine(model: made.model, backend: .cpu(CPUOptions(threads: 2)))
    let session = try engine.makeSession(capacity: 6)
    _ = try session.decode(5)
    session.tally = Tally()
    _ = try session.decode(6)
    let tally = session.tally
    // 64 columns are one block of 128: 64 bytes of codes, four scales. Embedding and head: 128 and 8.
    #expect(tally.attentionWeights == 4 * 64 * (64 + 8))
    #expect(tally.mlpWeights == 2 * 256 * (64 + 8))
    #expect(tally.headWeights == 96 * (128 + 8))
    #expect(tally.embedding == 128 + 8 + 64 * 2)
    (session.mode, session.tally) = (.exact, Tally())
    session.truncate(to: 1)
    _ = try session.decode(6)
    let skipped = 2 * 256 * (64 + 8) - session.tally.mlpWeights
    #expect(skipped > 0 && skipped % (64 + 8) == 0)
    // The same seed gives the same codes on any number of threads.
    let again = try SyntheticModel(
      shape: shape, options: options, team: try ThreadTeam(threads: 1))
    let bytes = [made, again].map {
      Array(UnsafeRawBufferPointer(start: $0.memory.base, count: $0.layout.byteCount))
    }
    #expect(bytes[0] == bytes[1])
  }

  @Test func `the flops of a token are those counted by hand`() throws {
    let team = try ThreadTeam(threads: 1)
    let made = try SyntheticModel(shape: shape, options: .init(), team: team)
    let engine = try Engine(model: made.model, backend: .cpu(CPUOptions(threads: 1)))
    let session = try engine.makeSession(capacity: 6)
    try session.run([1, 2, 3, 4, 5], wanted: .none) { _, _ in }
    session.tally = Tally()
    _ = try session.decode(6)
    #expect(session.tally.weightFlops == 2 * (4 * 64 * 64 + 2 * 256 * 64 + 96 * 64))
    // Scores and sums of two heads of 32 over six positions.
    #expect(session.tally.cacheFlops == 2 * 2 * 2 * 32 * 6)
    session.truncate(to: 5)
    (session.mode, session.tally) = (.exact, Tally())
    _ = try session.decode(6)
    // The down rows of neurons that are zero are not multiplied, and each row counts once.
    let skipped = 2 * 256 * 64 * 2 - session.tally.mlpWeights
    #expect(skipped > 0)
    #expect(session.tally.weightFlops == 2 * (4 * 64 * 64 + 2 * 256 * 64 + 96 * 64) - skipped)
  }

  @Test(arguments: [64, 32])
  func `the flops of a prompt are those that its steps count`(embedding: Int) throws {
    let shape = ModelShape(
      name: "counted", layers: 2, hidden: 64, heads: 2, embedding: embedding, vocabulary: 96,
      context: 32)
    let team = try ThreadTeam(threads: 1)
    let made = try SyntheticModel(shape: shape, options: .init(), team: team)
    let engine = try Engine(model: made.model, backend: .cpu(CPUOptions(threads: 1)))
    let session = try engine.makeSession(capacity: 9)
    session.tally = Tally()
    try session.run([1, 2, 3, 4, 5, 6, 7, 8, 9], wanted: .last) { _, _ in }
    #expect(Double(session.tally.flops) == PromptWork.flops(shape.architecture, tokens: 9))
  }

  @Test func `a run measures what the workload asks for`() throws {
    let team = try ThreadTeam(threads: 1)
    let made = try SyntheticModel(shape: shape, options: .init(), team: team)
    let engine = try Engine(model: made.model, backend: .cpu(CPUOptions(threads: 1)))
    var workload = Workload()
    (workload.depths, workload.prompts, workload.tokens) = ([4, 0], [8], 3)
    workload.modes = [.dense, .exact]
    var run = try SpeedRun(engine: engine, workload: workload)
    try run.warmUp()
    var steps = 0
    let probes = SpeedRun.Probes(bandwidth: { 10 }, product: { Double($0) }, step: { steps += 1 })
    for index in 0..<2 { try run.round(index, probes) }
    #expect(steps == 2 * (2 * 2 + 1))
    #expect(run.decode.map(\.depth) == [4, 4, 0, 0])
    #expect(run.decode.allSatisfy { $0.rounds.count == 2 && $0.milliseconds.count == 6 })
    #expect(run.prompt[0].products == [8, 8])
    // Two settling tokens, then positions 7, 8 and 9: the mean is 8.
    let perPosition = 2 * 2 * 32 * 2
    let fixed = (4 * 64 * 64 + 2 * 256 * 64 + 96 * 64 + 2 * 64) * 2
    #expect(run.decode[0].bytesPerToken == Double(fixed + 8 * perPosition))
    #expect(run.decode[1].bytesPerToken < run.decode[0].bytesPerToken)
  }
}
