import ArgumentParser
import DejaVuCore
import DejaVuQuantization

extension QuantizationOptions.Method: ExpressibleByArgument {}
extension GroupFit.Method: ExpressibleByArgument {}

/// Options of `quantize` that decide codes.
struct QuantizationArguments: ParsableArguments {
  @Option(help: ArgumentHelp("Bits of a weight: 8, 6, 4, 3 or 2.", valueName: "count"))
  var bits = 4

  @Option(
    help: ArgumentHelp("Weights that share a scale: 32, 64 or 128.", valueName: "count"))
  var group = 64

  @Flag(help: "Give every group a zero of its own beside its scale.")
  var zeros = false

  @Option(help: "How codes are found: rtn (nearest), search (of ranges) or gptq (needs --text).")
  var method = QuantizationOptions.Method.gptq

  @Option(
    help: ArgumentHelp(
      "Bits of the token embedding: 8, 6, 4, 3, 2, or 0 to leave it as it is; a table that is "
        + "the head too has the head's.", valueName: "count"))
  var embeddings = 8

  @Option(
    help: ArgumentHelp(
      "Bits of the head, which every token reads in full; 0 leaves it as it is.",
      valueName: "count"))
  var headBits = 8

  @Flag(help: "Let the search count errors by how strong each input is (needs --text).")
  var weighted = false

  @Flag(help: "Let GPTQ round the strongest inputs first.")
  var actOrder = false

  @Option(help: "How GPTQ finds the scale of a group: rtn (its range) or search.")
  var scales = GroupFit.Method.search

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "What GPTQ adds to the inputs' second moments, by their mean (default: 0.01).",
      valueName: "share"),
    transform: Numbers.real(1e-6...10))
  var damping = 0.01

  func validate() throws {
    guard GroupwiseFormat.allBits.contains(bits) else {
      throw ValidationError("--bits is \(bits) but must be 8, 6, 4, 3 or 2")
    }
    guard GroupwiseFormat.allGroups.contains(group) else {
      throw ValidationError("--group is \(group) but must be 32, 64 or 128")
    }
    for (name, value) in [("--embeddings", embeddings), ("--head-bits", headBits)]
    where value != 0 && !GroupwiseFormat.allBits.contains(value) {
      throw ValidationError("\(name) is \(value) but must be 8, 6, 4, 3, 2 or 0")
    }
  }

  /// The formats and the method.
  ///
  /// - Throws: `ValidationError` where `validate` was not asked before.
  func options() throws -> QuantizationOptions {
    func format(_ bits: Int) -> GroupwiseFormat? {
      GroupwiseFormat(bits: bits, group: group, hasZeros: zeros)
    }
    guard let blocks = format(bits) else {
      throw ValidationError("there is no format of \(bits) bits in groups of \(group)")
    }
    var options = QuantizationOptions(
      method: method, blocks: blocks, embedding: format(embeddings), head: format(headBits))
    options.weighsInputs = weighted
    options.ordersByStrength = actOrder
    options.fit = scales
    options.damping = Float(damping)
    return options
  }
}
