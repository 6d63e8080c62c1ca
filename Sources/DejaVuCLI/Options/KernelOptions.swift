public import ArgumentParser
public import DejaVuCPU
import DejaVuCore

/// How the processor multiplies.
struct KernelOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Instruction set of the kernels (default: the fastest this machine has).", valueName: "name"))
  var isa: InstructionSet?

  @Option(
    help: ArgumentHelp(
      """
      Bits that activations are rounded to where they meet a quantized model's weights, 16 or 8: 8 \
      is faster where arithmetic and not memory is the limit, at a loss that 'dejavu eval' shows \
      (default: 16).
      """, valueName: "count"))
  var activationBits: ActivationBits?

  /// Options of the processor with these kernels.
  func cpu(threads: Int, cacheType: DType?) -> CPUOptions {
    CPUOptions(
      threads: threads, instructionSet: isa ?? .best, cacheType: cacheType,
      activationBits: activationBits ?? .sixteen)
  }
}

extension InstructionSet: ExpressibleByArgument {}
extension ActivationBits: ExpressibleByArgument {}
