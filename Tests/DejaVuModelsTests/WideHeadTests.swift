import DejaVu
import DejaVuCPU
import DejaVuCore
import DejaVuFormats
import DejaVuModels
import Testing

/// The goldens' heads are 8 or 32 wide; real ones are 64 to 256.
@Suite(.serialized)
struct WideHeadTests {
  private static func architecture(headWidth: Int) -> Architecture {
    Architecture(
      family: "llama", layers: 2, hidden: 2 * headWidth, heads: 2, kvHeads: 1,
      headWidth: headWidth, neurons: 64, vocabulary: 96, embeddingWidth: 2 * headWidth,
      context: 512,
      normalization: Normalization(kind: .rootMeanSquare, epsilon: 1e-5, hasBias: false),
      blockOrder: .preNorm, hasFinalNorm: true, hasEmbeddingNorm: false, activation: .relu,
      isGated: true, positions: .rotary(Rotary(theta: 10_000, width: headWidth)),
      biases: Biases(queryKeyValue: false, attentionOutput: false, mlp: false), tiesHead: true,
      slidingWindow: nil)
  }

  /// Small seeded weights; norms of one.
  private static func model(headWidth: Int) throws -> PackedModel {
    let architecture = architecture(headWidth: headWidth)
    let layout = PackedLayout(
      architecture: architecture,
      types: PackedLayout.Types(uniform: .float32, layers: architecture.layers))
    let memory = try AnonymousMemory(count: layout.byteCount, what: "a test's weights")
    for (number, entry) in layout.entries.enumerated() {
      let values = (memory.base + entry.offset).assumingMemoryBound(to: Float.self)
      for i in 0..<entry.byteCount / 4 {
        let draw = Sampler.uniform(seed: UInt64(number), counter: UInt64(i))
        values[i] = entry.name.hasSuffix("norm.weight") ? 1 : Float(draw - 0.5) * 0.5
      }
    }
    return layout.model(owner: memory) { UnsafeRawPointer(memory.base + $0.offset) }
  }

  @Test(arguments: InstructionSet.available, [64, 128, 256])
  func `short caches of wide heads give the decode path's logits in the prompt path`(
    instructionSet: InstructionSet, headWidth: Int
  ) throws {
    let options = CPUOptions.exactCache(instructionSet)
    let engine = try Engine(model: Self.model(headWidth: headWidth), backend: .cpu(options))
    for count in [2, 15, 32, 33, 64] {
      let ids = (0..<count).map { TokenID(($0 * 31 + 7) % 96) }
      // A new engine's scratch has grown no further than these positions ask for.
      let (prompt, decode) = (
        try engine.makeSession(capacity: count), try engine.makeSession(capacity: count)
      )
      var rows: [[Float]] = []
      try prompt.run(ids[...], wanted: .all) { rows.append(Array($1)) }
      let largest = rows.joined().map { abs($0) }.max() ?? 0
      for (id, row) in zip(ids, rows) {
        let difference = zip(try decode.decode(id), row).map { abs($0 - $1) }.max() ?? .infinity
        #expect(difference < GoldenTolerance.logits * largest, "\(count) positions")
      }
    }
  }
}
