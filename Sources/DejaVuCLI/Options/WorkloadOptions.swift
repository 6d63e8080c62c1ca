import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuEvaluation
import DejaVuModels

/// What is measured, and how often.
struct WorkloadOptions: ParsableArguments {
  @Option(
    name: [.short, .long], parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Threads that compute; again for another run (1 to 1024; default: one per core).",
      valueName: "count"),
    transform: Numbers.whole(1...1024))
  var threads: [Int] = []

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Positions in the cache when decoding starts; repeatable (default: 128 and 512).",
      valueName: "count"),
    transform: Numbers.whole(0...1 << 24))
  var depth: [Int] = []

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Tokens of a prompt; repeatable (default: 128 and 512).", valueName: "count"),
    transform: Numbers.whole(1...1 << 24))
  var prompt: [Int] = []

  @Flag(help: "Measure no prompts.")
  var noPrompt = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Tokens of one decode run (default: 16).", valueName: "count"),
    transform: Numbers.whole(1...1 << 16))
  var tokens = 16

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Runs of each kind, in turn (default: 5).", valueName: "count"),
    transform: Numbers.whole(1...10000))
  var rounds = 5

  @Option(
    help: ArgumentHelp(
      """
      dense reads every row; exact skips the down rows of neurons that are zero, which changes no \
      result; repeatable (default: dense).
      """, valueName: "mode"))
  var mode: [RunMode] = []

  @Option(
    help: ArgumentHelp(
      """
      In what prompts are multiplied; auto takes bfloat16 for bfloat16 weights only, bfloat16 \
      states the error that it makes with others.
      """, valueName: "type"))
  var promptArithmetic = PromptArithmetic.auto

  @OptionGroup var kernels: KernelOptions

  /// What the options ask for; in a sweep depths that are not named are four, without prompts.
  func workload(sweeps: Bool) -> Workload {
    var workload = Workload()
    workload.threads = threads.isEmpty ? [LanguageModel.defaultThreads] : Self.unique(threads)
    if sweeps { (workload.depths, workload.prompts) = ([128, 256, 512, 1024], []) }
    if !depth.isEmpty { workload.depths = Self.unique(depth) }
    if !prompt.isEmpty { workload.prompts = Self.unique(prompt) }
    if noPrompt { workload.prompts = [] }
    if !mode.isEmpty { workload.modes = Self.unique(mode) }
    workload.tokens = tokens
    workload.rounds = rounds
    workload.instructionSet = kernels.isa ?? .best
    workload.activationBits = kernels.activationBits ?? .sixteen
    workload.multipliesPromptInBFloat16 = promptArithmetic.multipliesInBFloat16
    return workload
  }

  /// Each value once, in the order given.
  static func unique<Value: Hashable>(_ values: [Value]) -> [Value] {
    var seen: Set<Value> = []
    return values.filter { seen.insert($0).inserted }
  }
}
