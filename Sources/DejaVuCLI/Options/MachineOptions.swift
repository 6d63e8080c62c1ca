public import ArgumentParser
import DejaVu
public import DejaVuCPU
public import DejaVuCore
import DejaVuModels

/// How this machine runs the model.
struct MachineOptions: ParsableArguments {
  @Option(
    name: [.short, .long], parsing: .unconditional,
    help: ArgumentHelp(
      "Threads that compute (1 to 1024; default: one per core).", valueName: "count"),
    transform: Numbers.whole(1...1024))
  var threads: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      off reads every weight; exact skips the down rows of neurons that are zero, which changes \
      no result (default: off).
      """, valueName: "off|exact"),
    transform: SparsityMode.read)
  var sparsity: SparsityMode = .off

  @Option(
    help: ArgumentHelp(
      "Instruction set of the kernels (default: the fastest this machine has).", valueName: "name"))
  var isa: InstructionSet?

  @Option(
    help: ArgumentHelp(
      "Type of cached keys and values (default: float32 for float32 weights, else float16).",
      valueName: "type"))
  var cacheType: DType?

  var cpu: CPUOptions {
    CPUOptions(
      threads: threads ?? LanguageModel.defaultThreads, instructionSet: isa ?? .best,
      cacheType: cacheType)
  }
}

/// Which rows a step reads; `--sparsity` says it in the words of the command line.
enum SparsityMode: String, CaseIterable {
  case off, exact

  var mode: RunMode {
    switch self {
    case .off: .dense
    case .exact: .exact
    }
  }

  @Sendable
  static func read(_ text: String) throws -> SparsityMode {
    if let mode = SparsityMode(rawValue: text) { return mode }
    guard Double(text) == nil else {
      throw ValidationError(
        "it is a mode, off or exact, not a number; a share of the neurons is asked for with "
          + "--density, which comes with predictors")
    }
    throw ValidationError("it must be off or exact")
  }
}

extension InstructionSet: ExpressibleByArgument {}
extension DType: ExpressibleByArgument {}
