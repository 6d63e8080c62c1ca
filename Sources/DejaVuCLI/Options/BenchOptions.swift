import ArgumentParser
import DejaVu
import DejaVuCore
package import DejaVuModels

/// In what a prompt's products are multiplied.
enum PromptArithmetic: String, CaseIterable, ExpressibleByArgument {
  case auto, float32, bfloat16

  /// nil leaves it to the weights' type.
  var multipliesInBFloat16: Bool? {
    switch self {
    case .auto: nil
    case .float32: false
    case .bfloat16: true
    }
  }
}

extension RunMode: ExpressibleByArgument {
  package static var allValueStrings: [String] { [RunMode.dense.rawValue, RunMode.exact.rawValue] }
}

/// In how many bits the weights of a shape are made.
struct GroupwiseOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Bits of the blocks' weights: 8, 6, 4, 3 or 2, embedding and head in 8.", valueName: "count"))
  var bits: Int?

  @Option(
    help: ArgumentHelp("Bits of embedding and head beside --bits (default: 8).", valueName: "count")
  )
  var headBits: Int?

  @Option(
    help: ArgumentHelp(
      "Weights that share a scale: 32, 64 or 128 (default: 64).", valueName: "count"))
  var group: Int?

  /// What blocks are stored in; nil for plain weights.
  var format: GroupwiseFormat? {
    bits.flatMap { GroupwiseFormat(bits: $0, group: group ?? 64) }
  }

  /// Lets weights be made as the options say.
  func apply(to weights: inout SyntheticModel.Options) {
    weights.groupwise = format
    weights.headBits = headBits ?? weights.headBits
  }

  func validate() throws {
    guard let bits else {
      for (name, value) in [("--group", group), ("--head-bits", headBits)] where value != nil {
        throw ValidationError("\(name) is for weights of a few bits; add --bits")
      }
      return
    }
    if let headBits, !GroupwiseFormat.allBits.contains(headBits) {
      throw ValidationError("--head-bits is \(headBits) but must be 8, 6, 4, 3 or 2")
    }
    if format == nil {
      throw ValidationError(
        "--bits is \(bits) and --group \(group ?? 64), but there are kernels for 8, 6, 4, 3 or 2 "
          + "bits in groups of 32, 64 or 128")
    }
  }
}

/// How the weights of a shape are made.
struct SyntheticOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Type of the weights (default: float16).", valueName: "type"))
  var dtype: DType?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Seed of the weights and of the tokens (default: 1).", valueName: "number"))
  var seed: UInt64?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Share of neurons that fire (0.001 to 0.999; default: 0.5).", valueName: "share"),
    transform: Numbers.real(0.001...0.999))
  var reluDensity: Double?

  var options: SyntheticModel.Options {
    var options = SyntheticModel.Options()
    options.dtype = dtype ?? options.dtype
    options.seed = seed ?? options.seed
    options.reluDensity = reluDensity ?? options.reluDensity
    return options
  }

  /// The shape of this name.
  @Sendable
  static func shape(_ name: String) throws -> ModelShape {
    if let shape = ModelShape.named(name) { return shape }
    throw ValidationError("it must be one of \(names)")
  }

  static var names: String { ModelShape.all.map(\.name).joined(separator: ", ") }
}
