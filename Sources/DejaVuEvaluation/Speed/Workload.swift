package import DejaVuCPU
package import DejaVuModels

/// What a benchmark measures.
package struct Workload: Hashable, Sendable {
  /// Numbers of threads, each measured alone.
  package var threads = [1]
  /// Positions already in the cache when decoding starts.
  package var depths = [128, 512]
  /// Lengths of prompts.
  package var prompts = [128, 512]
  package var modes = [RunMode.dense]
  /// Tokens of one decode run.
  package var tokens = 16
  /// Runs of each kind, interleaved with probes.
  package var rounds = 5
  package var seed: UInt64 = 1
  package var instructionSet = InstructionSet.best
  /// What vectors are rounded to where they meet groupwise rows.
  package var activationBits = ActivationBits.sixteen
  /// Whether prompts are multiplied in bfloat16; nil leaves it to the weights' type.
  package var multipliesPromptInBFloat16: Bool?

  package init() {}

  /// Makes runs so long that settling is paid in full: at least eight tokens past the window in
  /// which inputs are kept, and whole windows, so that every layer's turn comes equally often.
  package mutating func lengthen(toSettle window: Int) {
    guard window > 0 else { return }
    tokens = (max(tokens, window + 8) + window - 1) / window * window
  }

  /// Probes of the bandwidth at least, however few runs there are.
  package static let leastProbes = 5

  /// Measurements in all, what a progress bar counts: tuning of the sparse runs first.
  package func measurements(sparseRuns: Int) -> Int {
    let rows = modes.reduce(0) { $0 + ($1 == .sparse ? sparseRuns : 1) }
    return threads.count * (sparseRuns + rounds * (depths.count * rows + prompts.count))
  }

  /// Positions of the longest sequence: what the model's context must hold.
  package var longestSequence: Int {
    max(prompts.max() ?? 0, (depths.max() ?? 0) + SpeedRun.settling + tokens)
  }

  package func options(threads: Int) -> CPUOptions {
    CPUOptions(
      threads: threads, instructionSet: instructionSet,
      multipliesPromptInBFloat16: multipliesPromptInBFloat16, activationBits: activationBits)
  }
}
