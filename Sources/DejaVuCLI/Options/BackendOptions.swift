import ArgumentParser
import DejaVu
import DejaVuCPU
import DejaVuCUDA
import DejaVuCore

/// Where a model runs.
enum BackendName: String, CaseIterable, ExpressibleByArgument {
  case cpu, cuda, auto
}

/// `--backend`.
struct BackendOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      cpu, cuda (the first NVIDIA card, or an error that says why not), or auto, which takes the \
      card where there is one that can hold the model (default: cpu).
      """, valueName: "cpu|cuda|auto"))
  var backend = BackendName.cpu

  /// Loads a model for the backend that was asked for.
  ///
  /// - Parameters:
  ///   - path: the model's folder.
  ///   - cpu: how the processor would run it; its type of cache holds on a card too.
  ///   - progress: called while a checkpoint is packed.
  /// - Returns: the model, ready to run.
  /// - Throws: what loading throws; ``BackendError`` where `cuda` was asked for and cannot be.
  func load(
    _ path: String, cpu: CPUOptions, progress: (LoadingProgress) -> Void = { _ in }
  ) throws -> LanguageModel {
    if backend == .cuda && cpu.activationBits != .sixteen {
      throw ValidationError(
        "--activation-bits is for the processor's kernels; leave it out with --backend cuda")
    }
    let cuda = BackendChoice.cuda(CUDAOptions(cacheType: cpu.cacheType))
    switch backend {
    case .cpu: return try LanguageModel(path: path, backend: .cpu(cpu), progress: progress)
    case .cuda:
      // A missing card is better known before a large model is read than after.
      Self.noteProducts(try CUDADevice())
      return try LanguageModel(path: path, backend: cuda, progress: progress)
    case .auto:
      do {
        Self.noteProducts(try CUDADevice())
        return try LanguageModel(path: path, backend: cuda, progress: progress)
      } catch is BackendError {
        return try LanguageModel(path: path, backend: .cpu(cpu), progress: progress)
      }
    }
  }

  /// Says once that prompts will take long, where they will.
  private static func noteProducts(_ device: CUDADevice) {
    guard device.products == nil else { return }
    Terminal.error.writeLine(
      "dejavu: prompts are multiplied by " + ProductLibrary.describe(device.products))
  }
}
