public import ArgumentParser
import DejaVu
import DejaVuCPU
public import DejaVuCore
import DejaVuModels

/// How this machine runs the model.
struct MachineOptions: ParsableArguments {
  @OptionGroup var threads: ThreadOptions

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      off reads every weight; exact skips the down rows of neurons that are zero, which changes \
      no result; auto takes the model's plan where one lies beside it and it is faster, else exact \
      or off; or the name of a plan (default: off).
      """, valueName: "off|exact|auto|plan"),
    transform: SparsityMode.read)
  var sparsity: SparsityMode?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Instead of --sparsity: compute this share of rows, of heads and neurons together by bytes, \
      between the densities of the plans that lie beside the model.
      """, valueName: "share"),
    transform: Numbers.share)
  var density: Double?

  @OptionGroup var kernels: KernelOptions

  @Option(
    help: ArgumentHelp(
      "Type of cached keys and values (default: float32 for float32 weights, else float16).",
      valueName: "type"))
  var cacheType: DType?

  func validate() throws {
    if sparsity != nil && density != nil {
      throw ValidationError("take either --sparsity or --density")
    }
  }

  /// What decoding reads, of a model in `folder`.
  func choice(of model: LanguageModel, in folder: String) throws -> SparsityChoice {
    if let density {
      return try SparsityChoice.density(density, model: model, folder: folder)
    }
    switch sparsity {
    case nil, .off: return .dense
    case .exact: return .exact
    case .auto: return try CrossoverCache.auto(model, folder: folder, cpu: cpu)
    case .plan(let name): return try SparsityChoice.plan(name, model: model, folder: folder)
    }
  }

  var cpu: CPUOptions {
    kernels.cpu(threads: threads.count, cacheType: cacheType)
  }
}

/// Which rows a step reads; `--sparsity` says it in the words of the command line.
enum SparsityMode: Equatable {
  case off, exact, auto
  /// A plan stored beside the model.
  case plan(String)

  @Sendable
  static func read(_ text: String) throws -> SparsityMode {
    switch text {
    case "off": return .off
    case "exact": return .exact
    case "auto": return .auto
    case "": throw ValidationError("it must be off, exact, auto or the name of a plan")
    default:
      guard Double(text) == nil else {
        throw ValidationError(
          "it is off, exact, auto or the name of a plan, not a number; --density takes a share of "
            + "rows, and 'dejavu calibrate' makes a plan for a share or a greatest loss")
      }
      return .plan(text)
    }
  }
}

extension DType: ExpressibleByArgument {}
